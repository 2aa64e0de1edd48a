"""Appends to logs of each kind of store: beside NATS' own bench tool, beside etcd's compare-and-put, and by several who contend."""
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import postgres
from figures import Figure, ROOT
from house import HOMES, Failed
from postgres import store
from postgres_server import Server, programs
from servers import NATS_TOOL, Etcd, Nats

CLIENTS = (1, 16)
REPLICAS = 3
# What a server adds to a message of NATS' bench tool on its disk (measured: 635 bytes of 600).
TOOL_OVERHEAD = 35


def said(clients):
    return '1 client' if clients == 1 else f'{clients} clients, a log each'


def run_all(commands):
    """At the same time. What they print."""
    running = [subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for command in commands]
    texts = [one.communicate(timeout=300)[0] for one in running]
    for one, text in zip(running, texts):
        if one.returncode != 0:
            raise Failed(text)
    return texts


# --- NATS' own bench tool ---

def tool_rate(nats, round_number, n, clients, size):
    """`nats bench js pub sync`: a process and a stream for each client, as ours. The sum of the rates that they print."""
    names = [f'tool-{round_number}-{clients}-{i}' for i in range(clients)]
    for name in names:
        stream = nats.tool('stream', 'add', name, '--subjects', name, '--storage', 'file', '--replicas', nats.n, '--defaults')
        run_all([stream])
    texts = run_all(nats.tool('bench', 'js', 'pub', 'sync', name, '--stream', name, '--clients', 1, '--msgs', n, '--size', f'{size}B', '--no-progress')
                    for name in names)
    rates = [re.search(r'publisher stats: ([\d,]+) msgs/sec', text) for text in texts]
    if None in rates:
        raise Failed(f'nats bench said: {texts}')
    return sum(int(rate[1].replace(',', '')) for rate in rates)


def beside_nats(rounds, appends=800):
    """With as many replicas, the same storage and flushing, and messages that are as big on disk."""
    if not NATS_TOOL.exists():
        raise Failed(f"there is no {NATS_TOOL}, NATS' own tool: tools/setup bench builds it")
    figures = []
    for replicas in (1, REPLICAS):
        samples = {(clients, whose): [] for clients in CLIENTS for whose in ('ours', 'tool')}
        with Nats(replicas) as nats:
            for i in range(rounds):
                for clients in CLIENTS:
                    n = appends // (1 if clients == 1 else 8) // replicas
                    samples[clients, 'ours'].append(store(nats.spec(f'ours-{i}-{clients}-{{}}'), n, clients)['events_per_s'])
                    state = nats.stream(f'ours-{i}-{clients}-0')['state']
                    samples[clients, 'tool'].append(tool_rate(nats, i, n, clients, state['bytes'] // state['messages'] - TOOL_OVERHEAD))
        figures += [Figure(f'append to JetStream, R{replicas}, {said(clients)}', '/s', samples[clients, 'ours'], 'nats bench js pub sync', samples[clients, 'tool'])
                    for clients in CLIENTS]
    return figures


# --- etcd ---

def etcd_rate(etcd, i, n, clients):
    done = run_all([[ROOT / 'build/bench/bench-etcd', etcd.ports(i), n, clients, len(postgres.LINE)]])
    return json.loads(done[0])['puts_per_s']


def beside_etcd(rounds, appends=800):
    """One event a log, one put a key, of as many bytes; all on one disk, each flushed before it is acknowledged."""
    folder = tempfile.mkdtemp(prefix='bench-etcd-', dir=HOMES)
    kinds = ('files', 'PostgreSQL', 'JetStream R1')
    one = {(clients, kind): [] for clients in CLIENTS for kind in (*kinds, 'etcd')}
    three = {(clients, kind): [] for clients in CLIENTS for kind in ('JetStream', 'etcd')}
    try:
        with Server(HOMES) as server, Nats(1) as nats, Etcd(1) as etcd:
            postgres.set_up(server)
            for i in range(rounds):
                for clients in CLIENTS:
                    n = appends // (1 if clients == 1 else 8)
                    specs = (f'files;path={folder}/{i}-{clients}-{{}}', server.spec(f'etcd-{i}-{clients}-{{}}'), nats.spec(f'etcd-{i}-{clients}-{{}}'))
                    for kind, spec in zip(kinds, specs):
                        one[clients, kind].append(store(spec, n, clients)['events_per_s'])
                    one[clients, 'etcd'].append(etcd_rate(etcd, i, n, clients))
        with Nats(REPLICAS) as nats, Etcd(REPLICAS) as etcd:
            for i in range(rounds):
                for clients in CLIENTS:
                    n = appends // (2 if clients == 1 else 16)
                    three[clients, 'JetStream'].append(store(nats.spec(f'etcd-{i}-{clients}-{{}}'), n, clients)['events_per_s'])
                    three[clients, 'etcd'].append(etcd_rate(etcd, i, n, clients))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # else an interruption would be lost
    return [Figure(f'append to {kind} beside etcd, {said(clients)}', '/s', one[clients, kind], 'etcd, compare-and-put', one[clients, 'etcd'])
            for clients in CLIENTS for kind in kinds] + \
           [Figure(f'append to JetStream R3 beside etcd, {said(clients)}', '/s', three[clients, 'JetStream'], 'etcd of 3 members, compare-and-put',
                   three[clients, 'etcd']) for clients in CLIENTS]


# --- who contend ---

def contend(rounds, appends=300):
    """Replicas that append to one log, each as fast as it can, and one of them alone."""
    if programs() is None:
        raise Failed('no PostgreSQL in /usr/lib/postgresql: install postgresql-15')
    folder = pathlib.Path(tempfile.mkdtemp(prefix='bench-contend-', dir=HOMES))
    found, alone = {}, {}
    try:
        with Server(HOMES) as server, Nats(1) as nats, Nats(REPLICAS) as three:
            postgres.set_up(server)
            for i in range(rounds):
                for kind, spec in {'files': f'files;path={folder}/{i}', 'PostgreSQL': server.spec(f'contend-{i}'), 'JetStream R1': nats.spec(f'contend-{i}'),
                                   'JetStream R3': three.spec(f'contend-{i}')}.items():
                    found.setdefault(kind, []).append(store(spec, appends, REPLICAS))
                    alone.setdefault(kind, []).append(store(spec, appends, 1)['events_per_s'])
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # else an interruption would be lost
    for kind, rows in found.items():
        per_100 = sum(row['conflicts'] for row in rows) / (len(rows) * REPLICAS * appends) * 100
        print(f"       {kind}: {per_100:.0f} conflicts for 100 accepted; the longest that a command took {max(max(row['waits_us']) for row in rows) / 1000:.0f} ms")
    even = [100 / REPLICAS] * rounds
    return [Figure(f'accepted of {REPLICAS} who contend on one log, {kind}', '/s', [row['events_per_s'] for row in rows], 'one alone', alone[kind])
            for kind, rows in found.items()] + \
           [Figure(f'the smallest share of {REPLICAS} who contend on one log, {kind}', '%', [min(row['accepted']) * 100 / sum(row['accepted']) for row in rows],
                   'an even share', even) for kind, rows in found.items()]
