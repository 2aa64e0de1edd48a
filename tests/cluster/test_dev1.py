"""dev-1, from outside: three operators over one log in PostgreSQL, any of which may be killed; the order of the tests is the story of one installation."""
import contextlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

from dev1 import OPERATORS, Commands, kill_programs, metric, nothing_twice, sealed_values_outlive_rotation_and_restart
from installation import ROOT, Load, is_alive, leftovers, until  # dev1 has put its folder into the path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='needs root: network namespaces, microVMs')

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


def test_servers_of_others(house):
    """A nats-server an operator, an S3 server, the database: all well, and whoever should be is told of news by the nats-server of its own host."""
    status = house.json('status')
    assert [(s['name'], s['node'], s['status']) for s in status['services']] == [
        ('postgres', None, 'well'), ('postgres-2', None, 'well'), ('nats-op1', 'op1', 'well'), ('nats-op2', 'op2', 'well'), ('nats-op3', 'op3', 'well'), ('s3', None, 'well')]
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
    frozen = house.agent_pid(operator)
    os.kill(frozen, signal.SIGSTOP)  # so that nothing is started again
    try:
        killed = [int(f.name) for f in pathlib.Path('/proc').glob('[0-9]*') if is_program_of(f, house, operator)]
        assert len(killed) >= 3
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):  # it ended with the one that started it
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(is_alive(pid) for pid in killed), what='its programs have ended')
        deployment = house.deploy_beside_a_loss(f'without-{operator}')
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


def test_a_worker_is_killed(house, hello):
    """Its agent, its proxy, and its microVMs at once, and for good as far as the others know: no request fails, what it served is served by others, which
    go on when it is back."""
    def serving():
        return {i['instance_id']: i['node'] for i in house.instances(project='hello', status='running', health='NOMINAL')}
    assert sorted(serving().values()) == ['w1', 'w2', 'w3']
    edges = [house.operator_edge(o, 'hello.localhost') for o in OPERATORS]
    supervisor = house.agent_pid('')
    lost = {i['instance_id']: i['pid'] for i in house.instances(node='w2') if i['pid']}  # its proxy, too
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(edge, per_second=5)) for edge in edges]
        os.kill(supervisor, signal.SIGSTOP)  # so that nothing is started again
        try:
            killed = [house.agent_pid('w2'), *lost.values()]
            for pid in killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            until(lambda: not any(is_alive(pid) for pid in killed), what='all of it has ended')
            until(lambda: {n['name']: n['status'] for n in house.json('nodes')}['w2'] == 'lost', 120, 'it is lost')
            until(lambda: len(serving()) == 3 and set(serving().values()) == {'w1', 'w3'}, 120, 'another one in its place')
            for edge in edges:
                until(lambda e=edge: len({e.who()['instance_id'] for _ in range(30)} - set(lost)) == 3, 60, 'the three that are left')
        finally:
            os.kill(supervisor, signal.SIGCONT)
        until(lambda: house.json('status')['status'] == 'healthy', 120, 'all is back')
        assert not set(serving()) & set(lost) and len(serving()) == 3
    assert all(load.failures == [] and len(load.answers) > 10 for load in loads), [load.failures for load in loads]
    nothing_twice(house)


FROZEN_S = int(os.environ.get('SLIPFORM_FROZEN_S', '60'))


@pytest.mark.parametrize('but, seconds', [(('edge-proxy',), FROZEN_S), ((), FROZEN_S / 2)], ids=['but its edge', 'its edge too'])
def test_an_operator_stands_still(house, hello, but, seconds):
    """The one that plans, for longer than its leases last: a deployment goes live through the others, status says who is away; when it goes on nothing is
    lost, nothing has happened twice, and nobody was declared lost by it. Its edge serves all the while, unless that stands still, too."""
    operator = until(lambda: next((node for node, r in house.replicas().items() if r.get('goes_first')), None), 30, 'one goes first')
    others = [o for o in OPERATORS if o != operator]
    until(lambda: house.operator_edge(operator, 'hello.localhost').get('/')[0] == 200, 60, 'hello is served')
    seq = house.json('status')['position']['seq']
    edge = house.operator_edge(operator if but else others[0], 'hello.localhost')
    own, theirs = Commands(house, [operator], f'own-{seq}', seconds + 120, 0.1), Commands(house, others, f'theirs-{seq}', pause=0.1)
    with Load(edge, per_second=10) as load, own, theirs:
        with house.standing_still(operator, but):
            began, made, answered = time.monotonic(), len(theirs.made), len(load.answers)
            deployment = house.deploy_beside_a_loss('hello')
            assert deployment['status'] == 'live'
            house.serves(deployment['deployment_id'], OPERATORS if but else others)
            status = house.json('status')
            assert {r['node']: r['status'] for r in status['replicas']} == {operator: 'down', **{o: 'live' for o in others}}
            away = {p['code'] for p in status['problems'] if f"'{operator}'" in p['title']}
            assert status['status'] == 'degraded' and {'replica-down', 'agent-down'} <= away, status['problems']
            until(lambda: time.monotonic() - began > seconds, seconds + 30, 'it has stood still long enough')
            assert len(theirs.made) > made and len(load.answers) > answered
        went_on = len(own.made)
        house.healthy()
        until(lambda: len(own.made) > went_on + 1, 60, 'it takes commands again')
    assert load.failures == []
    house.serves(deployment['deployment_id'])
    until(lambda: len({(r['seq'], r['model_hash']) for r in house.replicas().values()}) == 1, what='one position and one model')
    assert {name for name, _ in own.made + theirs.made} <= {p['name'] for p in house.json('projects')}
    events = nothing_twice(house)
    assert len([e for e in events if e['type'] == 'CreateInstance' and e['payload']['processId'] == deployment['deployment_id']]) == 3
    workers = {n['node_id'] for n in house.json('nodes') if n['name'] in ('w1', 'w2', 'w3')}
    assert not [e for e in events if e['seq'] > seq and e['type'] == 'NodeStatusChange' and e['payload']['nodeId'] in workers], 'it voted by what it had not heard'


def is_program_of(folder, house, operator):
    """A program that the agent of that operator started: its certificate is below the node's folder."""
    try:
        return f'{house.home}/nodes/{operator}/' in (folder / 'environ').read_bytes().decode(errors='replace')
    except OSError:
        return False


def test_sealed_values_outlive_rotation_and_restart(house, tmp_path):
    sealed_values_outlive_rotation_and_restart(house, 'op2', tmp_path / 'copy')


def test_nats_is_killed(house, hello):
    """Each server in turn while something is deployed, then every notifier at once: it goes live, and all of it is back."""
    deployment_id = house.deploy_detached()
    for operator in OPERATORS:
        house.kill_service(f'nats-{operator}')
    assert kill_programs(house, 'active-notifier') == 3
    house.serves(deployment_id, seconds=300)
    house.healthy()


def test_without_nats_all_converges(house, hello):
    """Every nats-server hangs: news is found by asking, as without any."""
    names = [f'nats-{operator}' for operator in OPERATORS]
    with house.frozen(*names):
        until(lambda: all(house.service(name)['status'] == 'down' for name in names), 60, 'status says so')
        assert {p['code'] for p in house.json('status')['problems']} >= {'service-down'}
        house.goes_live()
    house.healthy()


def test_the_s3_server_is_killed(house):
    """What was put is there again; it is started again, with the same keys."""
    keys = pathlib.Path(house.home, 'store/s3/credentials')
    assert keys.stat().st_mode & 0o777 == 0o600 and keys.owner() == 'slipform'
    command = pathlib.Path(f'/proc/{house.service_pid("s3")}/cmdline').read_text()
    secrets = [line.split(' = ')[1] for line in keys.read_text().splitlines()]
    assert len(secrets) == 2 and not any(secret in command for secret in secrets)
    bucket, cache = pathlib.Path(house.home, 'store/s3/data/blobs'), pathlib.Path(house.home, 'nodes/op1/blob-cache')
    blobs = lambda folder: {f.name for f in folder.rglob('*') if f.is_file() and len(f.name) >= 60}
    house.goes_live()
    assert len(blobs(bucket)) >= 2 and blobs(cache) and not any(pathlib.Path(house.home, 'blobs').iterdir()), 'contexts and images are in the bucket'
    house.kill_service('s3')
    house.goes_live()
    assert house.json('status')['status'] == 'healthy'


def test_another_store_is_refused(house):
    done = house.up(env={**house.env, 'SLIPFORM_STORE': 'jetstream'}, check=False)
    assert done.returncode == 1 and "is in 'postgres'" in done.stderr


def test_down_leaves_nothing_and_up_finds_all(house, hello):
    """By the scripts that lie beside the inventory."""
    def script(name):
        done = subprocess.run([ROOT / 'tower/dev-1' / name], env=house.env, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
    before = house.json('projects')
    script('stop.sh')
    assert leftovers(house.tag, house.home) == []
    script('start.sh')
    assert house.json('projects') == before
    for operator in OPERATORS:
        edge = house.operator_edge(operator, 'hello.localhost')
        until(lambda e=edge: e.get('/')[0] == 200, 120, f'hello at the edge of {operator}')
