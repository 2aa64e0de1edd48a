"""Where the log of a test's replicas is: in a folder that they share, in a PostgreSQL, in three nats-servers (JetStream). One of each kind, for as long as
`with` lasts; `spec` is what replicas are told, None for the folder of the test's world."""
import contextlib
import pathlib
import subprocess
import sys

from platform_world import PROGRAM

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'unit'))
import nats_server  # noqa: E402
import postgres_server  # noqa: E402

SLIPFORM = PROGRAM.parent / 'slipform'
KINDS = ('files', 'postgres', 'jetstream')


def missing(kind):
    """Why there is none of this kind here, or None."""
    if kind == 'postgres' and postgres_server.programs() is None:
        return 'no PostgreSQL in /usr/lib/postgresql: install postgresql-15'
    if kind == 'jetstream' and not nats_server.NATS_SERVER.exists():
        return f'no nats-server at {nats_server.NATS_SERVER}: tools/setup test builds it'
    return None


def create(spec):
    subprocess.run([SLIPFORM, 'eventlog', 'create', spec], check=True, timeout=120)


@contextlib.contextmanager
def log_store(kind):
    """Its servers, as `.spec(log)`; None: a folder."""
    if kind == 'files':
        yield None
    elif kind == 'postgres':
        with postgres_server.Server() as server:
            create(server.owner_spec('platform'))
            yield server
    else:
        with nats_server.Nats(3) as servers:
            create(servers.spec('platform'))
            yield servers


def use(world, store):
    """All replicas keep their log there, and share no folder with anybody, as on hosts of their own."""
    for program in world.all if store else []:
        program.settings.update(event_store=store.spec('platform'), bulk_size_mib=64)
        for name in ('logs', 'streams', 'statistics'):
            program.settings[f'{name}_folder'] = str(world.folder / f'{program.name}-{name}')
