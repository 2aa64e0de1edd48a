"""Three replicas of the control plane over one log and one bucket (versitygw): which of them collects what nobody names, while one is killed and people upload.
Real programs; in this folder because it waits for leases to run out, twice."""
import pathlib
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'system'))
from platform_world import PROGRAM, Program, until  # noqa: E402
from s3_server import SERVER, S3Server  # noqa: E402
from test_blobs_s3 import DAY, digest_of, project, store_image  # noqa: E402
from test_replicas import ALL, Replicas  # noqa: E402

pytestmark = pytest.mark.skipif(not PROGRAM.exists() or not SERVER.exists(), reason='platform or versitygw is not there')


class OverBucket(Replicas):
    """Three replicas over one log and one bucket, each with a cache of its own; all of them would collect. No node is needed: what waits for a builder is in use."""

    def __init__(self):
        super().__init__()
        self.all.append(Program(self, 'third', ALL, self.first.settings['tuning']))
        self.s3 = S3Server(self.folder)
        for program in self.all:
            program.settings.update(blobs=self.s3.spec(self.folder / f'cache-{program.name}'), blob_collection_seconds=1, node_timeout_seconds=2)

    def collected(self):
        """How many each that lives has set aside or brought back, by name: what it did with its own hands."""
        found = {}
        for program in self.all:
            if program.process.poll() is None:
                text = self.client_of(program).ok('GET', '/metrics').body.decode()
                found[program.name] = sum(float(row.rsplit(' ', 1)[1]) for row in text.splitlines() if row.startswith('slipform_blobs_collected_total{'))
        return found


class Uploads(threading.Thread):
    """Deployments through the replicas in turn, each of a project of its own (so that none replaces another) and of a context of its own, or of one that
    lies there as garbage."""

    def __init__(self, world, texts):
        super().__init__(daemon=True)
        self.world, self.texts, self.done, self.is_over = world, texts, set(), False
        self.paths = [f'/v1/deployments?project_id={project(world, f"races-{n}")}' for n in range(len(texts))]

    def run(self):
        clients = [self.world.client_of(p) for p in self.world.all]
        for n, (path, text) in enumerate(zip(self.paths, self.texts)):
            context = self.world.context(text)
            while not self.is_over:  # by whoever lives, until it is taken
                try:
                    if clients[n % len(clients)].ask('POST', path, context, headers={'Content-Type': 'application/x-tar'}).status == 201:
                        self.done.add(digest_of(context))
                        break
                except OSError:
                    pass
                n += 1
            time.sleep(0.1)  # for as long as two replicas collect, one after the other

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.join(60)


def test_replicas_collect_one_at_a_time_while_uploads_race():
    """The one that collects is killed in the middle of it: another one goes on. Garbage goes, what is uploaded meanwhile stays, also when the same bytes lay there
    as garbage, or were set aside."""
    world = OverBucket()
    try:
        world.s3.start()
        world.start()
        world.operator.ok('POST', '/v1/regions', {'name': 'here'}, 201)
        store_image(world, b'first')
        world.s3.age(DAY)
        until(lambda: any(world.collected().values()), 'somebody collects', seconds=60)
        collector = next(p for p in world.all if world.collected()[p.name])  # for as long as it lives
        wanted = [f'FROM scratch\n# wanted again {n}\n' for n in range(60)]
        garbage = {digest_of(data) for data in (b'garbage %d' % n for n in range(150))}
        for n in range(150):
            store_image(world, b'garbage %d' % n)
        for text in wanted:
            store_image(world, world.context(text))
        texts = [text for n, again in enumerate(wanted) for text in (f'FROM scratch\n# new {n}\n', again)]
        aside = lambda: world.s3.blobs('aside') & garbage
        uploads = Uploads(world, texts)
        world.s3.age(DAY)  # from here on it is garbage
        until(lambda: len(aside()) > 10, 'it is set aside', seconds=60, pause=0.01)
        assert sum(n > 0 for n in world.collected().values()) == 1, 'by one of them'
        with uploads:
            collector.kill()
            assert len(aside()) < len(garbage), 'it was killed in the middle'
            world.turn_to(next(p for p in world.all if p is not collector))
            until(lambda: len(aside()) == len(garbage), 'another one goes on', seconds=90)
            until(lambda: len(uploads.done) == len(texts), 'all is uploaded', seconds=90)
        until(lambda: sum(n > 0 for n in world.collected().values()) == 1, 'one of the two has, the other one has not', seconds=60)
        assert uploads.done <= world.s3.blobs(), 'what is in use stays'
        assert not garbage & world.s3.blobs()
        world.s3.age(DAY)
        world.s3.age(DAY, place='aside')
        until(lambda: not world.s3.blobs('aside'), 'it is removed', seconds=60)
        collections = lambda: sum(float(row.rsplit(' ', 1)[1]) for p in world.all if p.process.poll() is None
                                  for row in world.client_of(p).ok('GET', '/metrics').body.decode().splitlines() if row.startswith('slipform_blob_collections_total'))
        before = collections()
        until(lambda: collections() > before + 1, 'two more, which find nothing', seconds=60)
        assert world.s3.blobs() == uploads.done, 'and nothing else is there'
    finally:
        world.s3.kill()
        world.discard()
