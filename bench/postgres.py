"""Appends to a postgres store, beside pgbench calling the same function with the same bytes, on the same server."""
import json
import pathlib
import re
import subprocess
import sys

from figures import Figure, ROOT
from house import HOMES, Failed

sys.path.insert(0, str(ROOT / 'tests/unit'))
from postgres_server import Server  # noqa: E402

IN_FLIGHT = 64
# A line of the log, but for its end, which pgbench does not count; pgbench takes what is behind a colon for a variable.
LINE = ('{"time":"2026-11-22T12:00:00.000001Z#0","type":"slipform:InstanceStatusChange","id":"01900000-0000-7000-8000-000000000011","payload":'
        '{"instanceId":"01900000-0000-7000-8000-000000000011","status":"running","health":"NOMINAL","cause":"",'
        '"bootId":"0b5a2f6e-6a1e-4c58-9b7e-4c6f4c2b1a90/1","reportSeq":17},"sum":"crc32c:00000000"}')
SCRIPT = f"""SELECT slipform.append((:first::int4 + :client_id::int4), :seq::int8, :seq::int8, ARRAY[gen_random_uuid()], ARRAY[:seq::int8 + 1],
  ARRAY['{LINE.replace(':', '=')}'], :seq::int8 + 1, 0);
\\set seq :seq + 1
"""


def store(spec, n, clients, in_flight=1):
    """What bench-store says."""
    done = subprocess.run([ROOT / 'build/bench/bench-store', spec, str(n), str(clients), str(in_flight)], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise Failed(done.stderr)
    return json.loads(done.stdout)


def ours(server, n, clients, in_flight):
    return store(server.spec('bench-{}'), n, clients, in_flight)['events_per_s']


def set_up(server):
    """The tables, as their owner."""
    store(server.owner_spec('made'), 1, 1)


def pgbench(server, n, clients):
    """With logs of its own, of which it knows only that each goes on from where it is."""
    server.sql('CREATE SEQUENCE IF NOT EXISTS public.rounds')
    name = 'pgbench' + server.sql("SELECT nextval('public.rounds')")
    for i in range(clients):
        server.sql(f"SELECT slipform.make_log('{name}-{i}', gen_random_uuid())")
    first = server.sql(f"SELECT min(log) FROM slipform.heads WHERE name LIKE '{name}-%'")
    script = pathlib.Path(server.folder, 'script.sql')
    script.write_text(SCRIPT)
    script.chmod(0o644)
    said = server.run('pgbench', '-h', server.folder, '-U', 'replica', '-n', '-M', 'prepared', '-c', str(clients), '-j', str(min(clients, 2)), '-t', str(n),
                      '-D', 'seq=0', '-D', f'first={first}', '-f', str(script), 'slipform')
    written = int(server.sql(f"SELECT sum(seq) FROM slipform.heads WHERE name LIKE '{name}-%'"))
    if written != n * clients:
        raise Failed(f'pgbench appended {written} of {n * clients}')
    return float(re.search(r'^tps = ([\d.]+)', said, re.M)[1])


def measure(rounds, appends=1000):
    """On a disk, with the server's own settings: each append is flushed."""
    with Server(HOMES) as server:
        set_up(server)
        samples = {(clients, whose): [] for clients in (1, 16) for whose in ('ours', 'pgbench', 'batch')}
        for _ in range(rounds):
            for clients in (1, 16):
                n = appends if clients == 1 else appends // 4
                samples[clients, 'ours'].append(ours(server, n, clients, 1))
                samples[clients, 'pgbench'].append(pgbench(server, n, clients))
                samples[clients, 'batch'].append(ours(server, n // 10, clients, IN_FLIGHT))
    figures = []
    for clients in (1, 16):
        who = '1 client' if clients == 1 else f'{clients} clients, a log each'
        figures += [Figure(f'append to PostgreSQL, {who}', '/s', samples[clients, 'ours'], 'pgbench, the same statement', samples[clients, 'pgbench']),
                    Figure(f'append batched to PostgreSQL, {IN_FLIGHT} in flight, {who}', '/s', samples[clients, 'batch'], 'one at a time', samples[clients, 'ours'])]
    return figures
