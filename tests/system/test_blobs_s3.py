"""An installation whose contexts and images are in a bucket: the real `platform` and the real `image-builder` over a real S3 server that
is killed, cut, and refuses. The test plays nodes and edge."""
import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import subprocess
import urllib.parse
import urllib.request

import pytest

from platform_world import INSTALLATION, PROGRAM, Client, Program, World, until
from s3_server import CACHE, SERVER, Relay, S3Server

pytestmark = pytest.mark.skipif(not PROGRAM.exists() or not SERVER.exists(), reason='platform or versitygw is not there')


@contextlib.contextmanager
def bucket_world(through=None, more=None, settings=None, **tuning):
    """A world over a bucket that has been started and populated; `through(s3)` is an endpoint."""
    world = World(**tuning)
    world.s3 = S3Server(world.folder)
    try:
        world.s3.start()
        for program in (world.management, world.public):
            endpoint = through(world.s3) if through else None
            program.settings['blobs'] = world.s3.spec(world.folder / f'cache-{program.name}', endpoint, **(more or {}))
            program.settings.update(settings or {})
        world.start()
        world.populate()
        yield world
    finally:
        world.s3.kill()
        world.discard()


@pytest.fixture(scope='module')
def world():
    with bucket_world() as w:
        yield w


def project(world, name):
    return world.user.ok('POST', '/v1/projects', {'name': name}, 201).json['project_id']


def said(world, program='management'):
    return (world.folder / f'{program}.log').read_text()


def store_image(world, content):
    """As a builder stores it."""
    digest = hashlib.sha256(content).hexdigest()
    path = world.s3.data / world.s3.bucket / 'test-0/sha256' / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def build(world, deployment_id, content=b'a root file system'):
    store_image(world, content)
    return world.build(deployment_id, content)


def ask_address(url, headers=None):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=60) as answer:
        return answer.status, answer.read()


def test_a_context_goes_up_and_a_node_is_led_to_the_image(world):
    made = world.deploy(project(world, 'led'), 'FROM scratch\n# led\n').json
    context = f'sha256:{hashlib.sha256(world.context("FROM scratch" + chr(10) + "# led" + chr(10))).hexdigest()}'
    assert context in world.s3.blobs()
    content = os.urandom(300_000)
    image_id, digest = build(world, made['deployment_id'], content)
    path = f'/v1/images/{image_id}/download'
    answer = world.nodes[1].client.get(path)
    assert answer.status == 307 and answer.headers['Cache-Control'] == 'no-store' and not answer.body
    url = answer.headers['Location']
    assert 'X-Amz-Expires=300&' in url
    assert ask_address(url) == (200, content)
    assert ask_address(url, {'Range': 'bytes=299990-'}) == (206, content[-10:])
    forged = url.replace(digest[7:], context[7:]).replace(f'/{digest[7:9]}/', f'/{context[7:9]}/')
    with pytest.raises(urllib.error.HTTPError, match='403'):
        ask_address(forged)
    assert 'X-Amz-Signature' not in said(world) and 'tester-secret-words' not in said(world)
    world.until(lambda: world.deployment(made['deployment_id'])['status'] == 'live', 'it is live')
    again = world.user.ok('POST', '/v1/deployments', {'project_id': made['project_id'], 'context_digest': context}, 201).json
    assert again['deployment_id'] != made['deployment_id']
    unknown = world.user.ask('POST', '/v1/deployments', {'project_id': made['project_id'], 'context_digest': 'sha256:' + '0' * 64})
    assert unknown.status == 400 and 'not stored here' in unknown.json['detail']


def test_while_the_bucket_is_away_all_else_goes_on(world):
    made = world.deploy(project(world, 'away'), 'FROM scratch\n# away\n').json
    image_id, _ = build(world, made['deployment_id'])
    world.until(lambda: world.deployment(made['deployment_id'])['status'] == 'live', 'it is live')
    before = world.s3.blobs()
    world.s3.kill()
    text = 'FROM scratch\n# while it is away\n'
    words = f'project_id={made["project_id"]}'
    refused = world.user.ask('POST', f'/v1/deployments?{words}', world.context(text), headers={'Content-Type': 'application/x-tar'})
    assert refused.status == 503 and refused.headers['Retry-After'] and 'does not answer now' in refused.json['detail']
    assert world.nodes[1].client.get(f'/v1/images/{image_id}/download').status == 503
    assert world.management.is_ready() and world.public.is_ready()
    world.user.ok('PATCH', f'/v1/projects/{made["project_id"]}', {'instances': 4})
    world.until(lambda: len([i for i in world.operator.items(f'/v1/instances?deployment_id={made["deployment_id"]}')
                             if i['status'] == 'running']) == 4, 'a fourth one runs')
    assert f"bucket 'blobs' at 'http://127.0.0.1:{world.s3.port}'" in said(world, 'public')
    world.s3.start()
    assert world.s3.blobs() == before, 'nothing is half done'
    world.deploy(made['project_id'], text)
    assert world.nodes[1].client.get(f'/v1/images/{image_id}/download').status == 307


@pytest.mark.parametrize('wrong, says', [
    ({'bucket': 'nobodys'}, "there is no bucket 'nobodys'"),
    ({'keys': 'aws_access_key_id = tester\naws_secret_access_key = not it\n'}, 'does not take our credentials (SignatureDoesNotMatch)'),
    ({'keys': 'aws_access_key_id = stranger\naws_secret_access_key = not it\n'}, 'does not take our credentials (XAdminUserNotFound)'),
    ({'endpoint': 'http://127.0.0.1:1', 'attempts': 2}, "at 'http://127.0.0.1:1': GET failed 2 times")])
def test_a_wrong_bucket_is_said_at_the_start(world, tmp_path, wrong, says):
    """To whom, what, what to do; and the control plane goes on without its blobs."""
    if 'keys' in wrong:
        (tmp_path / 'keys').write_text(wrong['keys'])
        (tmp_path / 'keys').chmod(0o600)
        wrong = {'keys': tmp_path / 'keys'}
    program = Program(world, f'wrong-{abs(hash(says))}', ['public-api'], [])
    program.settings['blobs'] = world.s3.spec(tmp_path / 'cache', **wrong)
    program.start()
    try:
        log = world.folder / f'{program.name}.log'
        until(lambda: 'the blobs cannot be used' in log.read_text(), 'it is told')
        assert says in log.read_text() and 'not it' not in log.read_text()
        client = Client(world, program.port, token=world.token)
        made = client.ok('POST', '/v1/projects', {'name': f'wrong {len(says)}'}, 201).json  # by this replica, which must know it
        words = f'project_id={made["project_id"]}'
        answer = client.ask('POST', f'/v1/deployments?{words}', world.context(), headers={'Content-Type': 'application/x-tar'})
        assert answer.status == 503, answer
        assert 'slipform_blobs_answer 0' in world_metrics(client)
    finally:
        assert program.stop() == 0


def world_metrics(client):
    return client.get('/metrics').body.decode()


def test_what_cannot_be_opened_does_not_start(world, tmp_path):
    for keys, mode, says in (('', 0o600, 'no credentials for bucket'), ('aws_access_key_id = a\n', 0o644, 'chmod 600'), (None, 0, 'read credentials')):
        path = tmp_path / f'keys-{mode}'
        if keys is not None:
            path.write_text(keys)
            path.chmod(mode)
        program = Program(world, f'closed-{mode}', ['public-api'], [])
        program.settings['blobs'] = world.s3.spec(tmp_path / 'cache', keys=path)
        with pytest.raises(AssertionError, match=says):
            program.start()
        program.process.wait()


# ---- garbage ----

DAY = 25 * 3600


def digest_of(data):
    return f'sha256:{hashlib.sha256(data).hexdigest()}'


def metric(world, name):
    text = world.operator.get('/metrics').body.decode()
    return sum(float(line.rsplit(' ', 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_what_nobody_names_goes_in_two_steps_and_nothing_else():
    with bucket_world(settings={'blob_collection_seconds': 1}) as world:
        project_id = project(world, 'tidy')
        made = world.deploy(project_id, 'FROM scratch\n# stays\n').json
        image = os.urandom(1000)
        build(world, made['deployment_id'], image)
        world.until(lambda: world.deployment(made['deployment_id'])['status'] == 'live', 'it is live')
        used = {digest_of(world.context('FROM scratch\n# stays\n')), digest_of(image)}
        # of a build that failed, of an upload that nothing followed, and one that is looked up while it is set aside
        failed = world.deploy(project_id, 'FROM scratch\n# fails\n').json
        _, builder, env = world.builder(failed['deployment_id'])
        builder.ok('PUT', f'/v1/images/{env["SLIPFORM_IMAGE_ID"]}/status', {'status': 'failed', 'cause': 'as the test wants it'})
        stray, wanted = b'stray', world.context('FROM scratch\n# wanted again\n')
        for data in (stray, wanted):
            store_image(world, data)
        garbage = {digest_of(world.context('FROM scratch\n# fails\n')), digest_of(stray)}
        young = b'young'
        store_image(world, young)
        world.s3.age(DAY, *used, *garbage, digest_of(wanted))
        world.until(lambda: world.s3.blobs('aside') == garbage | {digest_of(wanted)}, 'garbage is set aside')
        assert world.s3.blobs() == used | {digest_of(young)}
        again = world.user.ok('POST', '/v1/deployments', {'project_id': project_id, 'context_digest': digest_of(wanted)}, 201).json
        assert digest_of(wanted) in world.s3.blobs() and digest_of(wanted) not in world.s3.blobs('aside')
        # stored again while it lies aside: what is removed there takes nothing from it
        twice = world.deploy(project_id, 'FROM scratch\n# fails\n').json
        world.s3.age(DAY, place='aside')
        world.s3.age(DAY, *used, digest_of(wanted))
        world.until(lambda: not world.s3.blobs('aside'), 'it is removed')
        assert digest_of(stray) not in world.s3.blobs()
        used |= {digest_of(wanted), digest_of(world.context('FROM scratch\n# fails\n')), digest_of(young)}
        assert world.s3.blobs() == used
        assert sum(int(n) for n in re.findall(r'garbage among blobs: (\d+) set aside', said(world))) == 3  # in one round or more
        world.until(lambda: metric(world, 'slipform_blobs_collected_total{fate="removed"}') >= 1, 'it is counted when the round is over')
        assert metric(world, 'slipform_blobs_removed_bytes_total') >= 5
        # while the bucket is away a collection says so, and the next one goes on
        world.s3.kill()
        until(lambda: 'garbage among blobs is collected another time' in said(world), 'it is told')
        world.s3.start()
        before = metric(world, 'slipform_blob_collections_total')
        world.until(lambda: metric(world, 'slipform_blob_collections_total') > before, 'the next one')
        assert world.s3.blobs() == used and again['deployment_id'] != twice['deployment_id']


# ---- the real builder ----

@pytest.mark.skipif(os.geteuid() != 0 or not (CACHE / 'registry').exists(), reason='builds need root and what tools/setup prepares')
def test_a_build_goes_on_after_the_bucket_was_away():
    """Context up, built by the real builder, which finds the bucket gone when it has the image; a node gets the image by the address, in
    two parts; what passes the relay is cut on the way."""
    relays = []
    with contextlib.ExitStack() as stack:
        def through(s3):
            if not relays:
                relays.append(stack.enter_context(contextlib.closing(Relay(s3.port))))
            return relays[0].endpoint
        world = stack.enter_context(bucket_world(through))
        relay = relays[0]
        dockerfile = 'FROM busybox\nRUN head -c 9000000 /dev/urandom > /big && echo made\nCMD ["/bin/true"]\n'
        made = world.deploy(project(world, 'built'), dockerfile).json
        _, _, env = world.builder(made['deployment_id'])
        builder_id = world.deployment(made['deployment_id'])['builder_instance_id']
        config = world.folder / 'image-builder.yaml'
        config.write_text(f'management_url: ["https://127.0.0.1:{world.management.port}"]\nwork_folder: {world.folder}/build\n'
                          f'blobs: "{world.s3.spec(world.folder / "cache-builder", relay.endpoint, part_size=5 << 20)}"\ncache_folder: {CACHE}\n')
        program = subprocess.Popen([PROGRAM.with_name('image-builder'), '--config', config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={
            **env, 'SLIPFORM_INSTALLATION': INSTALLATION, 'SLIPFORM_METRICS_LISTEN': 'none', 'SLIPFORM_CA_FILE': str(world.ca.cert),
            'SLIPFORM_CERT_FILE': str(world.folder / f'{builder_id}.pem'), 'SLIPFORM_KEY_FILE': str(world.folder / f'{builder_id}.key')})
        said_by_it = []
        try:
            for line in program.stdout:
                said_by_it.append(line.decode())
                if line == b'made\n':
                    world.s3.kill()
                if b'asked again' in line:
                    world.s3.start()
            assert program.wait(timeout=300) == 0, ''.join(said_by_it)
        finally:
            program.kill()
            program.wait()
        assert any('the blobs are away, and asked again' in line for line in said_by_it)
        assert not any('tester-secret-words' in line for line in said_by_it)
        world.until(lambda: world.deployment(made['deployment_id'])['status'] == 'live', 'it is live')
        image = world.operator.ok('GET', f'/v1/images/{env["SLIPFORM_IMAGE_ID"]}').json
        assert image['digest'] in world.s3.blobs() and image['size_bytes'] > 9_000_000
        relay.cut_after = 4_000_000
        got = b''
        while len(got) < image['size_bytes']:
            url = world.nodes[1].client.get(f'/v1/images/{image["image_id"]}/download').headers['Location']
            address = urllib.parse.urlsplit(url)
            connection = http.client.HTTPConnection(address.netloc, timeout=60)
            connection.request('GET', f'{address.path}?{address.query}', headers={'Range': f'bytes={len(got)}-'})
            before = len(got)
            try:
                got += connection.getresponse().read()
            except http.client.IncompleteRead as cut:
                got += cut.partial
            connection.close()
            assert len(got) > before
        assert digest_of(got) == image['digest']
