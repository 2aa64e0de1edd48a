"""dev-1 with its log in JetStream on the nats-servers of its operators, no PostgreSQL: each of them may die, the log's leader too."""
import json
import os
import pathlib
import signal
import subprocess
import urllib.request

import pytest

from dev1 import OPERATORS, Dev1, sealed_values_outlive_rotation_and_restart
from installation import leftovers, until  # dev1 has put its folder into the path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='needs root: network namespaces, microVMs')


class OnJetStream(Dev1):
    def spec(self):
        return self.json('status')['logs'][0]['path']

    def stream(self):
        """What the servers say of the log's stream: {'leader', 'replicas'}; asked of whoever answers."""
        for monitor in dict(part.split('=', 1) for part in self.spec().split(';')[1:])['monitor'].split(','):
            try:
                with urllib.request.urlopen(f'{monitor}/jsz?streams=true&accounts=true', timeout=5) as answer:
                    accounts = json.load(answer).get('account_details', [])
            except OSError:
                continue
            for stream in (s for a in accounts for s in a.get('stream_detail', [])):
                if stream['name'] == 'platform' and stream['cluster'].get('leader'):
                    return stream['cluster']
        return None

    def leader(self):
        return until(lambda: (self.stream() or {}).get('leader'), 60, 'the log has a leader')

    def at(self):
        return self.json('status')['position']['seq']

    def write(self, name):
        """An event, whatever it takes: the seconds until it was acknowledged are not looked at here."""
        until(lambda: self.run('nodes', 'drain', name, check=False).returncode == 0, 60, 'it can write')
        until(lambda: self.run('nodes', 'undrain', name, check=False).returncode == 0, 60, 'it can write')


def new_house():
    return OnJetStream('jetstream')


def test_the_log_is_in_jetstream(house):
    status = house.json('status')
    assert status['status'] == 'healthy', status['problems']
    assert [s['name'] for s in status['services']] == ['nats-op1', 'nats-op2', 'nats-op3', 's3']
    assert status['logs'][0]['store'] == 'jetstream' and not any(pathlib.Path(house.home, 'log/platform').iterdir())
    assert 'all good' in house.run('eventlog', 'verify', house.spec()).stdout
    assert len(house.stream()['replicas']) == 2 and 'Healthy already' in house.up().stdout
    until(lambda: len({(r['seq'], r['model_hash']) for r in house.replicas().values()}) == 1, what='one position and one model')


def test_nobody_else_gets_at_it(house):
    """Neither the certificate of an edge, nor that of a node-agent, nor none: only who keeps the log. And the right to keep it is not the right to delete it."""
    spec = house.spec()
    keys = {p.parent.name: p.parent for p in pathlib.Path(house.home, 'nodes/op1/identities').glob('*/cert.pem')}
    others = [folder for name, folder in keys.items() if name not in ('log',)] + [pathlib.Path(house.home, 'nodes/w1/identity')]
    assert len(others) >= 5
    for folder in others:
        parts = [p for p in spec.split(';') if not p.startswith(('cert=', 'key='))]
        done = house.run('eventlog', 'verify', ';'.join([*parts, f'cert={folder}/cert.pem', f'key={folder}/key.pem', 'timeout_ms=1000']), check=False)
        assert done.returncode != 0, f'{folder} reads the log'
    done = house.run('eventlog', 'verify', ';'.join(p for p in spec.split(';') if not p.startswith(('cert=', 'key='))), check=False)
    assert done.returncode != 0


def test_every_edge_serves(house, hello):
    for operator in OPERATORS:
        edge = house.operator_edge(operator, 'hello.localhost')
        until(lambda e=edge: e.get('/')[0] == 200, 60, f'hello at the edge of {operator}')
        assert len({edge.who()['instance_id'] for _ in range(30)}) == 3


def test_sealed_values_outlive_rotation_and_restart(house, tmp_path):
    sealed_values_outlive_rotation_and_restart(house, 'op2', tmp_path / 'copy')


def test_each_server_is_killed(house, hello):
    """In turn, the log's leader first, while something is deployed: nothing is lost, all is back."""
    before = house.at()
    leader = house.leader()
    deployment_id = house.deploy_detached()
    for name in [leader, *(f'nats-{o}' for o in OPERATORS if f'nats-{o}' != leader)]:
        house.kill_service(name)
        house.write('w3')
    house.serves(deployment_id, seconds=300)
    house.healthy()
    verified = house.run('eventlog', 'verify', house.spec()).stdout
    assert 'all good' in verified and int(verified.split()[0]) > before
    until(lambda: len({(r['seq'], r['model_hash']) for r in house.replicas().values()}) == 1, what='one position and one model')


def test_the_leader_hangs(house, hello):
    """It holds its connections and says nothing: the other two go on without it, for as long as it likes."""
    leader = house.leader()
    with house.frozen(leader):
        until(lambda: house.service(leader)['status'] == 'down', 60, 'status says so')
        house.write('w3')
        house.goes_live()
        assert house.leader() != leader
    house.healthy()


def test_an_operator_is_cut_off(house, hello):
    """Its link to the fabric is down: its replica sees no majority and writes nothing, the others go on, and it comes back."""
    link = f'slp{house.tag}f2'  # the machine's end of op2's
    subprocess.run(['ip', 'link', 'set', link, 'down'], check=True, timeout=30)
    try:
        house.write('w3')
        house.goes_live(('op1', 'op3'))
        assert house.replicas()['op2']['status'] == 'down'
    finally:
        subprocess.run(['ip', 'link', 'set', link, 'up'], check=True, timeout=30)
        house.run('up', '--tower', 'dev-1', check=False, timeout=400)  # a link that was down has lost its routes
    house.healthy()
    house.serves(house.operator_edge('op1', 'hello.localhost').who()['deployment_id'], ('op2',))


def test_without_a_majority_it_reads_only(house, hello):
    """Two of three hang: nothing is acknowledged, nothing is declared lost, applications are served; then all goes on."""
    before = house.at()
    with house.frozen('nats-op2', 'nats-op3'):
        done = house.run('nodes', 'drain', 'w3', check=False, timeout=120)
        assert done.returncode != 0
        assert house.operator_edge('op1', 'hello.localhost').get('/')[0] == 200
    house.write('w3')  # the replica whose append failed says so until one succeeds
    house.healthy()
    assert house.at() > before
    assert {n['status'] for n in house.json('nodes')} == {'ready'}
    assert 'all good' in house.run('eventlog', 'verify', house.spec()).stdout


def test_down_leaves_nothing_and_up_finds_all(house, hello):
    """Also when a server hangs."""
    before = house.json('projects')
    os.kill(house.service_pid('nats-op1'), signal.SIGSTOP)
    house.down()
    assert leftovers(house.tag, house.home) == []
    house.up()
    assert house.json('projects') == before
    for operator in OPERATORS:
        edge = house.operator_edge(operator, 'hello.localhost')
        until(lambda e=edge: e.get('/')[0] == 200, 120, f'hello at the edge of {operator}')
