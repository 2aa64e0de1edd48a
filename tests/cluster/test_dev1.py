"""dev-1, from outside: three operators over one log in PostgreSQL, any of which may be killed; the order of the tests is the story of one installation."""
import ipaddress
import json
import os
import pathlib
import signal
import socket
import sys
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'system'))
from installation import ROOT, Edge, Installation, is_alive, leftovers, until  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='needs root: network namespaces, microVMs')
OPERATORS = ['op1', 'op2', 'op3']


class OperatorEdge(Edge):
    """The edge of an operator, by its address on the fabric."""

    def __init__(self, address, *rest):
        super().__init__(*rest)
        self.address = address

    def connect(self, timeout=20):
        import http.client
        raw = socket.create_connection((self.address, self.port), timeout=timeout)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        connection.sock = self.context.wrap_socket(raw, server_hostname=self.host)
        return connection


class Dev1(Installation):
    def up(self):
        return self.run('up', '--tower', 'dev-1', timeout=400)

    def replicas(self):
        return {r['node']: r for r in self.json('status')['replicas']}

    def operator_edge(self, operator, host):
        status = self.json('status')
        address = status['endpoints']['node_agents'][OPERATORS.index(operator)]['url'].split('[')[1].split(']')[0]
        return OperatorEdge(str(ipaddress.ip_address(address)), host, int(status['endpoints']['edge_https'].rsplit(':', 1)[1]), status['ca_file'])

    def programs_of(self, operator):
        status = self.json('status')
        node_id = next(n['node_id'] for n in status['endpoints']['node_agents'] if n['name'] == operator)
        return [p for p in status['programs'] if p['node_id'] == node_id and p['pid']]


@pytest.fixture(scope='module')
def house():
    house = Dev1()
    try:
        house.up()
        yield house
    finally:
        house.discard()


@pytest.fixture(scope='module')
def hello(house):
    deployment = house.deploy(ROOT / 'examples/hello', 'hello', '--drain-seconds', 1)
    assert deployment['status'] == 'live'
    return deployment


def test_three_replicas_over_one_log(house):
    """All live, at one position, with one model; again changes nothing; the log is in the database and nowhere else."""
    status = house.json('status')
    assert status['status'] == 'healthy', status['problems']
    assert [r['node'] for r in status['replicas']] == OPERATORS and {r['zone'] for r in status['replicas']} == {'o1', 'o2'}
    assert {r['status'] for r in status['replicas']} == {'live'}
    until(lambda: len({(r['seq'], r['model_hash']) for r in house.replicas().values()}) == 1, what='one position and one model')
    assert status['logs'][0]['store'] == 'postgres' and 'Healthy already' in house.up().stdout
    assert not any(pathlib.Path(house.home, 'log/platform').iterdir())
    done = house.run('eventlog', 'verify', status['logs'][0]['path'])
    assert 'all good' in done.stdout


def metric(url, name):
    text = urllib.request.urlopen(f'{url}/metrics', timeout=10).read().decode()  # on the loopback of the program's own host
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + ' ')), None)


def test_servers_of_others(house):
    """A nats-server an operator, an S3 server, the database: all well, and whoever should be is told of news by the nats-server of its own host."""
    status = house.json('status')
    assert [(s['name'], s['node'], s['status']) for s in status['services']] == [
        ('postgres', None, 'well'), ('nats-op1', 'op1', 'well'), ('nats-op2', 'op2', 'well'), ('nats-op3', 'op3', 'well'), ('s3', None, 'well')]
    op1 = {p['name']: p['metrics_url'] for p in house.programs_of('op1') if p['metrics_url']}
    for name in ('management-api', 'public-api', 'edge-proxy', 'active-notifier'):
        until(lambda n=name: metric(op1[n], 'slipform_nats_up') == 1, 30, f'{name} is connected')
    before = metric(op1['edge-proxy'], 'slipform_nats_hints')
    house.run('nodes', 'drain', 'w1')
    house.run('nodes', 'undrain', 'w1')
    until(lambda: metric(op1['edge-proxy'], 'slipform_nats_hints') > before, 10, 'a hint')


def test_another_tower_is_refused(house):
    for words in (('up',), ('down', '--tower', 'dev-0')):
        done = house.run(*words, check=False)
        assert done.returncode == 1 and "'dev-1'" in done.stderr
    assert house.json('status')['status'] == 'healthy'


def test_the_database_is_nobody_elses(house):
    """No port, one socket below the home, and the platform's user may not change what was appended."""
    import subprocess
    folder = f'{house.home}/run/postgres'
    pid = next(p['pid'] for p in house.json('status')['programs'] if p['name'] == 'postgres')
    listens = subprocess.run(['ss', '-lntpH'], capture_output=True, text=True, timeout=30).stdout
    assert f'pid={pid},' not in listens
    as_programs = ['setpriv', '--reuid=slipform', '--regid=slipform', '--clear-groups', 'psql', '-X', '-h', folder, '-d', 'slipform']
    ask = lambda user, sql: subprocess.run([*as_programs, '-U', user, '-c', sql], capture_output=True, text=True, timeout=30, cwd='/')
    assert ask('slipform_replica', 'SELECT count(*) FROM slipform.events').returncode == 0
    assert 'permission denied' in ask('slipform_replica', 'DELETE FROM slipform.events').stderr
    for user in ('slipform_owner', 'slipform_admin'):
        assert 'Peer authentication failed' in ask(user, 'SELECT 1').stderr
    nobody = subprocess.run(['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', 'psql', '-X', '-h', folder, '-U', 'slipform_replica', 'slipform',
                             '-c', 'SELECT 1'], capture_output=True, text=True, timeout=30, cwd='/')
    assert nobody.returncode != 0


def test_every_edge_serves(house, hello):
    for operator in OPERATORS:
        edge = house.operator_edge(operator, 'hello.localhost')
        until(lambda e=edge: e.get('/')[0] == 200, 30, f'hello at the edge of {operator}')
        assert len({edge.who()['instance_id'] for _ in range(30)}) == 3


@pytest.mark.parametrize('operator', ['op2', 'op3', 'op1'])
def test_an_operator_is_killed(house, hello, operator):
    """Its agent and all of its programs at once, and for good as far as the others know: another deployment goes live, its edge's peers serve it."""
    others = [o for o in OPERATORS if o != operator]
    state = json.loads(pathlib.Path(house.home, 'run/supervise.json').read_text())
    frozen = next(a['pid'] for a in state['agents'] if a['name'] == operator)
    os.kill(frozen, signal.SIGSTOP)  # so that nothing is started again
    try:
        killed = [int(f.name) for f in pathlib.Path('/proc').glob('[0-9]*') if is_program_of(f, house, operator)]
        assert len(killed) >= 3
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not any(is_alive(pid) for pid in killed), what='its programs have ended')
        deployment = house.deploy(ROOT / 'examples/hello', f'without-{operator}', '--drain-seconds', 1)
        assert deployment['status'] == 'live'
        for other in others:
            edge = house.operator_edge(other, f'without-{operator}.localhost')
            until(lambda e=edge: e.get('/')[0] == 200, 30, f'the new one at the edge of {other}')
            assert house.operator_edge(other, 'hello.localhost').get('/')[0] == 200
        status = house.json('status')
        assert status['status'] == 'degraded' and {r['node']: r['status'] for r in status['replicas']}[operator] == 'down'
        nodes = {n['name']: n['status'] for n in house.json('nodes')}
        assert all(nodes[w] == 'ready' for w in ('w1', 'w2', 'w3')), nodes
    finally:
        os.kill(frozen, signal.SIGCONT)
    until(lambda: house.json('status')['status'] == 'healthy', 120, 'all is back')
    assert house.operator_edge(operator, f'without-{operator}.localhost').get('/')[0] == 200


def is_program_of(folder, house, operator):
    """A program that the agent of that operator started: its certificate is below the node's folder."""
    try:
        return f'{house.home}/nodes/{operator}/' in (folder / 'environ').read_bytes().decode(errors='replace')
    except OSError:
        return False


def test_down_leaves_nothing_and_up_finds_all(house, hello):
    before = house.json('projects')
    house.down()
    assert leftovers(house.tag, house.home) == []
    house.up()
    assert house.json('projects') == before
    for operator in OPERATORS:
        edge = house.operator_edge(operator, 'hello.localhost')
        until(lambda e=edge: e.get('/')[0] == 200, 120, f'hello at the edge of {operator}')
