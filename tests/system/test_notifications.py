"""Two replicas over one log in a real PostgreSQL, two active-notifiers and a real nats-server: replicas are told of news. Everything is
killed in turn, and nothing depends on it. Real programs; the test plays agents and people."""
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time

import pytest

from platform_world import INSTALLATION, PROGRAM, until
from test_replicas import meanwhile
from test_replicas_postgres import OnPostgres

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'unit'))
from postgres_server import Server, programs  # noqa: E402

NODES = ['operator-1', 'worker-1']  # that have joined
SLIPFORM = PROGRAM.parent / 'slipform'
NOTIFIER = PROGRAM.parent / 'active-notifier'
NATS = pathlib.Path(os.environ.get('NATS_SERVER', pathlib.Path(os.environ.get('SLIPFORM_CACHE', '/var/cache/slipform')) / 'nats/nats-server'))
pytestmark = [pytest.mark.skipif(not NOTIFIER.exists(), reason=f'{NOTIFIER} is not built'),
              pytest.mark.skipif(not NATS.exists(), reason=f'SKIPPED: no nats-server at {NATS}: tools/setup builds it'),
              pytest.mark.skipif(programs() is None, reason='SKIPPED: no PostgreSQL in /usr/lib/postgresql: install postgresql-15')]


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Told(OnPostgres):
    """Its nats-server lets in whom active-notifier names, and nobody else."""

    def __init__(self, server):
        super().__init__(server)
        self.nats_port, self.nats, self.notifiers = free_port(), None, []
        self.servers = [f'tls://127.0.0.1:{self.nats_port}']
        for program, node in zip(self.all, NODES):
            cert, key = self.ca.issue('control', node)  # identities are of nodes
            program.settings.update(nats_servers=self.servers, cert_file=str(cert), key_file=str(key))

    def settings_of(self, name):
        cert, key = self.ca.issue('notifier', name)
        path = self.folder / f'notifier-{name}.yaml'
        path.write_text(json.dumps({'installation': INSTALLATION, 'instance_id': name, 'event_store': self.server.spec('platform'), 'nats_servers': self.servers,
                                    'ca_file': str(self.ca.cert), 'cert_file': str(cert), 'key_file': str(key), 'poll_ms': 20}))
        return path

    def write_authorization(self):
        text = subprocess.run([NOTIFIER, '--config', self.settings_of(NODES[0]), '--authorization'], check=True, capture_output=True, text=True, timeout=60).stdout
        (self.folder / 'authorization.conf').write_text(text)
        return text

    def start_nats(self):
        cert, key = self.ca.issue('nats', 'one')
        config = self.folder / 'nats.conf'
        config.write_text(f'listen: "127.0.0.1:{self.nats_port}"\n'
                          f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{self.ca.cert}", verify_and_map: true }}\n'
                          'include "authorization.conf"\n')
        log = open(self.folder / 'nats.log', 'ab')
        self.nats = subprocess.Popen([NATS, '-c', config], stdout=log, stderr=log)

    def kill_nats(self):
        self.nats.kill()
        self.nats.wait()

    def start_notifier(self, name):
        log = open(self.folder / f'notifier-{name}.log', 'ab')
        self.notifiers.append(subprocess.Popen([NOTIFIER, '--config', self.settings_of(name)], stdout=log, stderr=log))

    def metric(self, program, name):
        for line in self.client_of(program).ok('GET', '/metrics').body.decode().splitlines():
            if line.startswith(name + ' '):
                return float(line.split()[-1])
        return None

    def lag_ms(self, n=30):
        """From the acknowledgement of a write at one replica until the other has it, though nobody asks that one for it: median."""
        writer, reader = self.client_of(self.first), self.client_of(self.second)
        found = []
        for _ in range(n):
            writer.ok('POST', '/v1/projects', {'name': f'lag-{time.monotonic_ns()}'}, 201)
            began, seq = time.monotonic(), writer.ok('GET', '/readyz').json['seq']
            until(lambda seq=seq: reader.ok('GET', '/readyz').json['seq'] >= seq, 'the other replica has it', pause=0.002)
            found.append((time.monotonic() - began) * 1000)
        return statistics.median(found)

    def discard(self):
        for process in [*self.notifiers, self.nats]:
            if process and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        super().discard()


@pytest.fixture
def world():
    with Server() as server:
        subprocess.run([SLIPFORM, 'eventlog', 'create', server.owner_spec('platform')], check=True, timeout=60)
        world = Told(server)
        try:
            world.start()
            world.populate()
            world.hashes_agree()
            world.settle()
            yield world
        finally:
            world.discard()


def test_replicas_are_told(world):
    """Without NATS the other replica looks every 200 ms; with it, it has a write much earlier; with everything of NATS killed it goes on as before."""
    text = world.write_authorization()
    assert all(f'slipform://{INSTALLATION}/control/{name}"' in text for name in NODES)
    without = world.lag_ms()
    world.start_nats()
    for name in NODES:
        world.start_notifier(name)
    until(lambda: all(world.metric(p, 'slipform_nats_up') == 1 for p in world.all), 'both replicas listen')
    wrote = world.metric(world.second, 'slipform_nats_hints') or 0
    until(lambda: world.user.ok('POST', '/v1/projects', {'name': f'hint-{time.monotonic_ns()}'}, 201)
          and world.metric(world.second, 'slipform_nats_hints') > wrote, 'hints come')
    told = without

    def is_earlier():
        nonlocal told
        told = world.lag_ms()
        return told < without / 2
    until(is_earlier, lambda: f'a write is there much earlier than without NATS ({without:.0f} ms): {told:.0f} ms')
    print(f'acknowledged until the other replica has it, median of 30: {without:.0f} ms without NATS, {told:.0f} ms with')
    world.notifiers[0].kill()
    before = world.metric(world.second, 'slipform_nats_hints')
    until(lambda: world.user.ok('POST', '/v1/projects', {'name': f'left-{time.monotonic_ns()}'}, 201)
          and world.metric(world.second, 'slipform_nats_hints') > before, 'the other notifier goes on')
    world.server.restart()
    until(lambda: world.user.ask('POST', '/v1/projects', {'name': 'after-restart'}).status in (201, 409), 'it writes again')
    before = world.metric(world.second, 'slipform_nats_hints')
    until(lambda: world.user.ok('POST', '/v1/projects', {'name': f'again-{time.monotonic_ns()}'}, 201)
          and world.metric(world.second, 'slipform_nats_hints') > before, 'the notifier reads the log again')
    away = lambda: [p['title'] for p in json.loads(meanwhile(world, 'status', '--json'))['problems'] if p['code'] == 'notifier-away']
    assert away() == []
    world.kill_nats()
    world.live('without-nats')
    assert world.metric(world.second, 'slipform_nats_up') == 0
    until(away, 'slipform status says so', seconds=30)
    assert away() == ["the replica on 'operator-1' is connected to no nats-server"]
    world.hashes_agree()
    world.start_nats()
    until(lambda: world.metric(world.second, 'slipform_nats_up') == 1, 'it listens again')
    until(lambda: away() == [], 'and that they are back')
    world.live('with-nats')
    world.hashes_agree()
