"""The main job, from outside: a Dockerfile becomes three microVMs behind a TLS edge, and stays served.

One installation for the whole file, raised and taken down by the CLI; the order of the tests is the story of its life, but each
finds what it needs by itself (a deployment of `hello` is made when there is none)."""
import contextlib
import hashlib
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

from installation import ROOT, Failed, Installation, Load, is_alive, kill, leftovers, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='needs root: network namespaces, microVMs')
DRAIN_SECONDS = 3


@pytest.fixture(scope='module')
def house():
    house = Installation()
    try:
        house.up()
        yield house
    finally:
        house.discard()


@pytest.fixture(scope='module')
def hello_folder(tmp_path_factory):
    """A copy of the example that a test may change."""
    folder = tmp_path_factory.mktemp('hello') / 'hello'
    shutil.copytree(ROOT / 'examples/hello', folder)
    return folder


@pytest.fixture
def hello(house, hello_folder):
    """hello, live: its edge."""
    project = next((p for p in house.json('projects') if p['name'] == 'hello' and p['live_deployment_id']), None)
    if project is None:
        deployment = house.deploy(hello_folder, 'hello', '--drain-seconds', DRAIN_SECONDS)
        assert deployment['status'] == 'live' and deployment['url'].startswith('https://hello.localhost:')
    until(lambda: len(healthy(house)) >= 3, what='three healthy instances')
    return house.edge('hello.localhost')


def healthy(house):
    live = next(p['live_deployment_id'] for p in house.json('projects') if p['name'] == 'hello')
    return house.instances(project='hello', deployment_id=live, status='running', health='NOMINAL')


def change_version(folder, text):
    (folder / 'VERSION').write_text(text + '\n')


def test_up_again_does_nothing(house):
    before = house.json('status')
    done = house.up()
    assert 'Healthy already' in done.stdout
    after = house.json('status')
    assert [p['pid'] for p in before['programs']] == [p['pid'] for p in after['programs']]
    assert before['status'] == 'healthy' and not before['problems']


def test_make_up_says_what_to_type(hello, house):
    """The last step of `make up`, when all is healthy: it changes nothing, and the curl that it prints works."""
    done = subprocess.run([ROOT / 'tools/up'], env=house.env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and 'Healthy already' in done.stdout and 'queued' not in done.stderr
    command = next(line for line in done.stdout.splitlines() if line.strip().startswith('curl '))
    answer = subprocess.run(command.split() + ['-s'], capture_output=True, text=True, timeout=30)
    assert json.loads(answer.stdout)['version']
    assert house.json('status')['endpoints']['public_api'] in done.stdout


def test_two_at_once(house):
    """While one `up` or `down` is at work another is refused, with what to do."""
    import fcntl
    with open(f'{house.home}/run/install.lock', 'r+') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = house.run('up', check=False)
    assert done.returncode == 1 and 'wait for it to end' in done.stderr


def test_served_by_each_of_three(hello, house):
    rows = healthy(house)
    assert len({row['node_id'] for row in rows}) == 3 and {row['runtime'] for row in rows} == {'qemu'}
    seen = {hello.who()['instance_id'] for _ in range(40)}
    assert seen == {row['instance_id'] for row in rows}


def test_sticky_cookie(hello):
    status, headers, body = hello.get('/')
    cookie = headers['set-cookie'].split(';')[0]
    assert status == 200 and cookie.startswith('slipform_sticky=')
    first = json.loads(body)['instance_id']
    assert {hello.who(headers={'Cookie': cookie})['instance_id'] for _ in range(12)} == {first}


def test_http2(hello, house):
    done = subprocess.run(['curl', '-s', '--http2', '--cacert', house.json('status')['ca_file'], '--resolve',
                           f'{hello.host}:{hello.port}:127.0.0.1', '-o', '/dev/null', '-w', '%{http_version} %{http_code}',
                           f'https://{hello.host}:{hello.port}/'], capture_output=True, text=True)
    assert done.stdout == '2 200'


def test_a_secret_reaches_a_microvm_and_nothing_else(house, tmp_path):
    """Its program sees the value (and answers its digest); no file below the home has it in clear. The project is scaled and named."""
    value = f's3cret {os.urandom(16).hex()}'
    (tmp_path / 'Dockerfile').write_text(
        'FROM busybox\nCMD ["sh", "-c", "mkdir -p /tmp/w && printf %s \\"$TOKEN\\" | sha256sum > /tmp/w/index.html && exec httpd -f -p $PORT -h /tmp/w"]\n')
    first = house.deploy(tmp_path, 'discreet', '--drain-seconds', 0)
    house.run('secrets', 'discreet', 'set', 'TOKEN', input=value + '\n')
    assert [s['name'] for s in house.json('secrets', 'discreet')] == ['TOKEN']
    assert house.run('secrets', 'discreet', 'set', 'PORT', input='1', check=False).returncode == 4
    second = house.deploy(tmp_path, 'discreet', '--drain-seconds', 0)
    edge = house.edge('discreet.localhost')
    digest = hashlib.sha256(value.encode()).hexdigest()
    until(lambda: edge.get('/')[2].split()[0].decode() == digest, what='the digest of the value')
    assert 'yes' in house.run('secrets', 'discreet').stdout or 'true' in house.run('secrets', 'discreet').stdout
    assert subprocess.run(['grep', '-rlF', '--', value, house.home], capture_output=True, text=True).stdout == ''
    assert 'SetSecret' in house.run('events').stdout

    assert house.json('scale', 'discreet', 4)['instances_wanted'] == 4
    live = lambda: house.instances(project='discreet', deployment_id=second['deployment_id'], status='running', health='NOMINAL')
    until(lambda: len(live()) == 4, what='a fourth instance')
    assert 'scaled since' in house.run('status', second['deployment_id']).stdout
    done = house.run('scale', 'discreet', 2, check=False)
    assert done.returncode == 1 and "'instances' must be 3" in done.stderr
    done = house.run('scale', 'discreet', 100, check=False)
    assert done.returncode == 1 and 'no room for 100 instances' in done.stderr and 'free' in done.stderr

    assert '_slipform.shop.example.org.' in house.run('domains', 'discreet', 'add', 'shop.example.org').stdout
    assert house.json('domains', 'discreet')[0]['status'] == 'pending'
    house.run('domains', 'discreet', 'verify', 'shop.example.org')
    until(lambda: house.json('domains', 'discreet')[0]['status'] == 'serving', what='the domain serves')
    own = house.edge('shop.example.org')
    until(lambda: own.get('/')[2].split()[0].decode() == digest, what='the answer at its own name')
    house.run('domains', 'discreet', 'remove', 'shop.example.org')
    assert house.json('domains', 'discreet') == [] and first['status'] == 'live'


def test_isolation_of_names(house, hello):
    """A host that nobody has is not answered by somebody's application."""
    other = house.edge('nobody.localhost')
    try:
        status, _, _ = other.get('/')
    except OSError:  # no certificate for that name
        return
    assert status == 404


def test_new_version_under_load(hello, house, hello_folder):
    before = {row['instance_id'] for row in healthy(house)}
    change_version(hello_folder, 'v-next')
    with Load(hello, per_second=50) as load:
        house.deploy(hello_folder, 'hello', '--drain-seconds', DRAIN_SECONDS)
        until(lambda: not before & {r['instance_id'] for r in house.instances(project='hello')}, what='the old instances to go')
    assert load.failures == [] and len(load.answers) > 200
    assert load.answers[-1] == 'v-next' and load.answers[0] != 'v-next'


def test_scaled_down_and_drained_under_load(hello, house):
    """No request fails: those under way end well, and what an edge may not repeat is not lost. (That an instance is withdrawn
    before it is told to stop is test_api's: edges repeat what does not reach hello.)"""
    def slow():
        status, _, body = hello.get('/slow?ms=600', timeout=30)
        assert status == 200, (status, body[:200])

    def posted():  # an edge repeats no POST that has reached a program; hello's own answer to it is 405
        status, _, body = hello.ask('POST', '/', {'Content-Length': '0'}, timeout=30)
        assert status == 405 and b'GET or HEAD' in body, (status, body[:200])

    house.json('scale', 'hello', 4)
    four = until(lambda: len(healthy(house)) == 4 and healthy(house), what='four instances')
    w2 = next(node['node_id'] for node in house.json('nodes') if node['name'] == 'w2')
    with Load(hello, 10, slow) as slows, Load(hello, 20, posted) as posts:
        house.json('scale', 'hello', 3)
        until(lambda: sum(is_alive(row['pid']) for row in four) == 3, what='one to end')
        there = house.instances(project='hello', node_id=w2)
        assert there
        house.run('nodes', 'drain', 'w2')
        try:
            until(lambda: not any(is_alive(row['pid']) for row in there), what='w2 to be empty')
        finally:
            house.run('nodes', 'undrain', 'w2')
    assert slows.failures == [] and posts.failures == []
    assert len(slows.answers) > 15 and len(posts.answers) > 30


def test_microvm_killed(hello, house):
    victim = healthy(house)[0]
    with Load(hello, per_second=20) as load:
        kill(victim['pid'])
        back = until(lambda: next((r for r in healthy(house) if r['instance_id'] == victim['instance_id'] and r['pid'] not in (None, victim['pid'])), None),
                     what='the microVM to be back')
    assert load.failures == []
    assert back['ipv6'] == victim['ipv6'] and back['restarts'] == victim['restarts'] + 1
    until(lambda: hello.who()['instance_id'] == victim['instance_id'], what='the restarted one to serve')


@pytest.mark.parametrize('name', ['management-api', 'public-api', 'edge-proxy', 'node-proxy', 'node-agent'])
def test_program_killed(hello, house, name):
    victims = [p for p in house.json('status')['programs'] if p['name'] == name]
    assert victims and all(p['pid'] for p in victims)
    with Load(hello, per_second=20) as load:
        for program in victims:
            kill(program['pid'])
        until(lambda: not any(is_alive(p['pid']) for p in victims))

        def all_back():
            status = house.json('status')
            back = [p for p in status['programs'] if p['name'] == name]
            return len(back) == len(victims) and all(p['pid'] and p['pid'] not in {v['pid'] for v in victims} for p in back) and \
                status['status'] == 'healthy'
        until(all_back, what=f'{name} to be back')
    assert load.failures == []
    assert len(healthy(house)) >= 3


def test_served_without_control_plane(hello, house):
    """SIGSTOP rather than SIGKILL: it stays away for as long as we look."""
    import signal
    pids = [p['pid'] for p in house.json('status')['programs'] if p['name'] in ('management-api', 'public-api')]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert all(hello.get('/')[0] == 200 for _ in range(50))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    until(lambda: house.json('status')['status'] == 'healthy', what='the control plane to answer again')


def test_a_log_that_cannot_be_folded_is_told(hello, house):
    """A record that no fold takes: status says so and from where it answers, reads go on, writes are refused, applications are served. A
    restart changes nothing. Set aside: all goes on."""
    log = next(entry['path'] for entry in house.json('status')['logs'] if entry['name'] == 'platform')
    house.run('eventlog', 'set-aside', log, '3', '--reason', 'nobody passed over it', '--unchecked')

    def is_told():
        status = house.json('status')
        told = [p for p in status['problems'] if p['code'] == 'control-plane-read-only']
        return told and (status, told[0])
    status, told = until(is_told, what='status to tell')
    assert status['status'] == 'degraded' and 'has stopped' in told['detail'] and 'set-aside' in told['hint'], told
    bad = status['position']['seq'] + 1
    assert f'event {bad} of log' in told['detail'] and status['model_hash'], status
    assert any(p['slug'] == 'hello' for p in house.json('projects')) and len(healthy(house)) >= 3
    refused = house.run('nodes', 'drain', house.json('nodes')[-1]['name'], check=False)
    assert refused.returncode == 5 and 'has stopped' in refused.stderr, refused
    for program in house.json('status')['programs']:
        if program['name'] in ('management-api', 'public-api'):
            kill(program['pid'])
    until(is_told, what='it to be told after a restart, too')
    assert all(hello.get('/')[0] == 200 for _ in range(20)) and len(house.json('ps')) >= 3
    house.run('eventlog', 'set-aside', log, str(bad), '--reason', 'a mistake')
    until(lambda: house.json('status')['status'] == 'healthy', what='it to go on by itself')
    assert len(healthy(house)) >= 3


def test_dockerfile_that_fails(house, tmp_path):
    (tmp_path / 'Dockerfile').write_text('FROM busybox\nRUN echo about to fail && false\n')
    done = house.deploy(tmp_path, 'broken', check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer['status'] == 'failed' and 'false' in answer['cause']


def test_program_that_never_listens(house, tmp_path):
    (tmp_path / 'Dockerfile').write_text('FROM busybox\nCMD ["sh", "-c", "echo I am deaf; sleep 100000"]\n')
    done = house.deploy(tmp_path, 'deaf', '--start-timeout', 15, check=False)  # of 120: it never does
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer['status'] == 'failed' and 'healthy after 15 s' in answer['cause'] and '8080' in answer['cause']


def test_folder_without_dockerfile(house, tmp_path):
    done = house.run('deploy', tmp_path, check=False)
    assert done.returncode == 2 and 'needs --project NAME: which application' in done.stderr, done
    done = house.run('deploy', tmp_path, '--project', 'empty', check=False)
    assert done.returncode == 3 and 'Dockerfile' in done.stderr


PROBE = """#!/bin/sh
# Say what this guest reaches, then serve the answer.
mkdir -p /tmp/www
{
nslookup MIRROR >/dev/null 2>&1 && echo "name yes" || echo "name no"
printf 'GET / HTTP/1.0\\r\\nHost: MIRROR\\r\\n\\r\\n' | nc -w 10 MIRROR 80 2>/dev/null | grep -q '^HTTP/' && echo "world yes" || echo "world no"
for target in TARGETS; do
    nc -w 2 ${target%-*} ${target##*-} </dev/null >/dev/null 2>&1 && echo "$target yes" || echo "$target no"
done
echo "user $(id -u) project $SLIPFORM_PROJECT region $SLIPFORM_REGION zone $SLIPFORM_ZONE port $PORT"
} >/tmp/www/index.html 2>&1
echo probe is done
exec httpd -f -p "[::]:$PORT" -h /tmp/www
"""


def mirror_of_this_machine():
    """A host of the internet that this machine can reach: its Debian mirror."""
    for path in [*pathlib.Path('/etc/apt').glob('sources.list.d/*'), pathlib.Path('/etc/apt/sources.list')]:
        for line in path.read_text().splitlines() if path.exists() else []:
            if 'http://' in line and '/debian' in line and not line.strip().startswith('#'):
                return line.split('http://', 1)[1].split('/')[0]
    return None


def test_guest_reaches_the_world_and_nothing_of_ours(hello, house, tmp_path):
    """From inside a booted microVM: its resolver and the internet, but no agent, no API, no other guest, no machine."""
    mirror = mirror_of_this_machine()
    if mirror is None:
        pytest.skip('no Debian mirror over plain http in /etc/apt: nothing of the internet to try')
    agents = [n['url'].split('[')[1].split(']:') for n in house.json('status')['endpoints']['node_agents']]
    guests = [(row['ipv6'], '8080') for row in healthy(house)]
    machine = subprocess.run(['hostname', '-I'], capture_output=True, text=True).stdout.split()
    ports = [house.json('status')['endpoints'][name].rsplit(':', 1)[1] for name in ('management_api', 'edge_https')]
    targets = [*agents, *guests, *[(address, port) for address in machine for port in ports]]
    (tmp_path / 'Dockerfile').write_text('FROM busybox\nCOPY probe.sh /\nUSER nobody\nCMD ["sh", "/probe.sh"]\n')
    (tmp_path / 'probe.sh').write_text(PROBE.replace('MIRROR', mirror).replace('TARGETS', ' '.join(f'{a}-{p}' for a, p in targets)))
    house.deploy(tmp_path, 'probe', '--drain-seconds', '0')
    _, _, body = house.edge('probe.localhost').get('/')
    said = dict(line.split(' ', 1) for line in body.decode().splitlines())
    assert [said.pop(what) for what in ('name', 'world')] == ['yes', 'yes']
    assert said.pop('user').startswith('65534 project probe region local zone ')
    assert len(said) == len(targets) and set(said.values()) == {'no'}, said


def test_lists(hello, house):
    nodes = house.json('nodes')
    assert {n['name'] for n in nodes} == {'op1', 'w1', 'w2', 'w3'} and {n['status'] for n in nodes} == {'ready'}
    assert all(row['ok'] in (True, False) and row['check'] for n in nodes for row in n['preflight'])
    assert any(row['check'] == 'probe-guest' and row['ok'] for n in nodes for row in n['preflight'])
    assert any(image['status'] == 'ready' and image['digest'].startswith('sha256:') for image in house.json('images'))
    events = house.json('events')
    assert [e['seq'] for e in events] == list(range(1, len(events) + 1))
    created = [e for e in events if e['type'].endswith('CreateInstance') and e['payload'].get('because')]
    assert created, 'every placement says from what it was decided'
    live = next(p['live_deployment_id'] for p in house.json('projects') if p['name'] == 'hello')
    assert any('listening' in line['text'] for line in house.json('logs', live))
    assert house.json('status', live)['status'] == 'live'
    path = house.json('status')['logs'][0]['path']
    verdict = json.loads(house.run('eventlog', 'verify', path, '--json').stdout)
    assert verdict['ok'] and verdict['events'] >= len(events)


def test_time_travel(hello, house):
    """--at folds the log up to an instant or a position; diff says what became of things between two."""
    events = house.json('events')
    live = next(p['live_deployment_id'] for p in house.json('projects') if p['name'] == 'hello')
    switched = next(e for e in events if e['type'] == 'RouteDeployment' and e['payload']['deploymentId'] == live)
    before, after = house.json('status', '--at', str(switched['seq'] - 1)), house.json('status', '--at', str(switched['seq']))
    row = lambda doc: next(d for d in doc['deployments'] if d['id'] == live)  # noqa: E731
    assert row(before)['status'] == 'starting' and before['position']['seq'] == switched['seq'] - 1
    assert next(p for p in after['projects'] if p['slug'] == 'hello')['live_deployment_id'] == live
    placed = [r for r in house.json('ps', '--at', switched['time'].split('#')[0]) if r['deployment_id'] == live]
    assert len(placed) >= 3 and all(r['node'] and r['status'] in ('pending', 'starting', 'running') for r in placed)
    changes = house.json('diff', '1', str(events[-1]['seq']))
    assert {'kind': 'project', 'name': 'hello', 'change': 'added'}.items() <= next(c for c in changes if c['name'] == 'hello' and c['kind'] == 'project').items()
    one = house.json('diff', str(switched['seq'] - 1), str(switched['seq']))
    assert any(c['kind'] == 'project' and c['after']['live_deployment_id'] == live for c in one), one
    assert house.run('status', '--at', 'yesterday', check=False).returncode == 1
    assert house.run('diff', '9', '3', check=False).returncode == 1


def test_what_if(hello, house):
    """This build decides again what it decided, in this process and in another one; with another figure it does not."""
    said = house.json('what-if')
    assert said['same'] and said['plans'] >= 5 and said['unexplained'] == 0, said
    assert house.json('what-if', '--planner', str(ROOT / 'build/slipform'))['same']
    done = house.run('what-if', '--set', 'settle_seconds=600', '--json', check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    rules = {row['rule'] for row in json.loads(done.stdout)['counts'] if row['change'] == 'not'}
    assert 'all are healthy' in rules, done.stdout


@pytest.fixture(scope='module')
def clicks_folder(tmp_path_factory):
    """examples/clicks, built outside of the tree against installed headers and libslipform.a only; its context."""
    root = tmp_path_factory.mktemp('sdk')
    done = subprocess.run(['meson', 'install', '-C', ROOT / 'build', '--tags', 'devel', '--no-rebuild', '--destdir', root / 'installed'],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = next((root / 'installed').rglob('slipform.pc'))
    prefix = next(p for p in found.parents if (p / 'include/slipform/slipform.h').exists())
    shutil.copytree(ROOT / 'examples/clicks', root / 'clicks', ignore=shutil.ignore_patterns('context', 'clicks'))
    env = {**os.environ, 'PKG_CONFIG_PATH': str(found.parent)}
    done = subprocess.run(['make', '-C', root / 'clicks', 'context', f'PKG_CONFIG=pkg-config --define-variable=prefix={prefix}'],
                          env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / 'clicks/context'


def clicks_call(house, row, method, path, position=None):
    """A request to the application's own address, from its node: (body, Slipform-Position)."""
    spaces = subprocess.run(['ip', 'netns'], capture_output=True, text=True).stdout.split()
    space = next(s for s in spaces if house.tag in s and s.endswith('-' + row['node']))
    command = ['ip', 'netns', 'exec', space, 'curl', '-sS', '-i', '-m', '30', '-X', method, f'http://[{row["ipv6"]}]:{row["port"]}{path}']
    command += ['-H', f'Slipform-Position: {position}'] if position else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Failed(f'{method} {path} of clicks: {done.stderr}')
    head, _, body = done.stdout.partition('\n\n')
    headers = dict(line.split(': ', 1) for line in head.splitlines() if ': ' in line)
    return json.loads(body), headers.get('Slipform-Position')


def clicks_instance(house, but=None):
    return until(lambda: next(r for r in [*house.instances(name='clicks', status='running', health='NOMINAL'), None]
                              if r is None or r['instance_id'] != but), 180, 'a healthy instance of clicks')


def clicks_progress(house):
    return house.json('apps', 'timeline', 'clicks', '1')['instances'][0].get('progress', {})


def clicks_health(house, health):
    until(lambda: house.json('apps')[0]['health'] == health, what=f'clicks to be {health}')


def clicks_tells_of_itself(house, row):
    """How far it is is seen while it runs; frozen, it is TIMEOUT; thawed, it is NOMINAL again; all of it without being replaced."""
    until(lambda: clicks_progress(house).get('n_input_events_handled', 0) >= 101 and not clicks_progress(house).get('lag_events'),
          what='the progress of clicks')
    assert clicks_progress(house)['n_output_events'] >= 101 and clicks_progress(house)['checkpoint'] and 'first_error' not in clicks_progress(house)
    assert float(house.json('apps')[0]['events_per_second']) >= 0 and house.json('status', 'clicks')['explanation']['state']
    until(lambda: sum(e['payload'].get('nInputEventsHandledOk', 0) for e in house.json('events', '--log', 'statistics') if e['type'] == 'InstanceIopw') >= 101,
          what='the windows in the log of statistics')
    os.kill(row['pid'], signal.SIGSTOP)
    try:
        clicks_health(house, 'TIMEOUT')  # its node sees first that nothing answers; then that nothing is reported
        explanation = until(lambda: next((e for e in [house.json('status', row['instance_id'])['explanation']]
                                          if 'does not report any more' in e.get('why', '')), None), what='the watchdog to say so')
    finally:
        os.kill(row['pid'], signal.SIGCONT)
    assert 'next report' in explanation['change']
    clicks_health(house, 'NOMINAL')
    changes = [e['payload'] for e in house.json('events') if e['payload'].get('watched') and e['payload']['instanceId'] == row['instance_id']]
    watched = [c['watched'] for c in changes]  # a call that was under way may have failed meanwhile: a WARNING for a minute
    assert (watched[0], watched[-1]) == ('TIMEOUT', 'NOMINAL') and set(watched[1:-1]) <= {'WARNING'} and changes[0]['because']['rule'] == 'watchdog'
    assert clicks_instance(house)['instance_id'] == row['instance_id']


def test_an_application_counts_clicks(house, clicks_folder):
    """An event-sourced application of somebody else's: built against the installed SDK, run in a microVM, its log kept by the platform."""
    deployed = house.json('apps', 'deploy', clicks_folder)
    assert deployed['status'] == 'running' and house.json('apps', 'deploy', clicks_folder)['process_id'] == deployed['process_id']
    assert deployed['url'] == f'https://clicks.localhost:{house.edge("").port}'
    row = clicks_instance(house)
    for n in range(1, 101):
        answer, position = clicks_call(house, row, 'POST', '/clicks/home')
        assert answer['id'] and position
    assert clicks_call(house, row, 'GET', '/clicks/home', position)[0]['clicks'] == 100
    until(lambda: clicks_call(house, row, 'GET', '/clicks/home')[0]['milestones'] == 1, what='the consequence of the hundredth click')
    assert 'error' not in clicks_call(house, row, 'GET', '/')[0] and 'detail' in clicks_call(house, row, 'POST', '/clicks/NO')[0]
    clicks_tells_of_itself(house, row)
    kill(row['pid'])
    again = until(lambda: next((r for r in house.instances(name='clicks', status='running', health='NOMINAL') if r['pid'] != row['pid']), None), what='clicks to run again')
    assert clicks_call(house, again, 'GET', '/clicks/home')[0] == {'page': 'home', 'clicks': 100, 'milestones': 1}
    story = house.json('apps', 'timeline', 'clicks', '1')['items']
    assert story[0]['what'] == 'created' and {'running', 'starting'} <= {entry['what'] for entry in story}
    # Through the edge, as everybody else reaches it.
    until(lambda: house.json('apps')[0]['route'] == 'serving', what='the edges to be led to it')
    edge = house.edge('clicks.localhost')
    until(lambda: edge.get('/clicks/home')[0] == 200, what='the edge to know it')
    status, headers, _ = edge.ask('POST', '/clicks/home')
    assert status == 201 and edge.ask('GET', '/clicks/home', {'Slipform-Position': headers['Slipform-Position']})[2] == \
        b'{"page":"home","clicks":101,"milestones":1}\n'


def clicks_shares(house):
    """Version 2 of clicks: its three healthy instances, or nothing."""
    application = next(a for a in house.json('apps') if a['version'] == '2')
    answers = house.management('/v1/instances')['items']
    mine = {i['instance_id'] for i in answers if i['spec'].get('process_id') == application['process_id']}
    rows = [r for r in house.instances(name='clicks', status='running', health='NOMINAL') if r['instance_id'] in mine]
    return rows if len(rows) == 3 else None


def clicks_told(house, rows, path, position):
    """What each of the instances says, once it has folded up to there."""
    return [clicks_call(house, row, 'GET', path, position)[0] for row in rows]


def test_an_application_of_three_counts_together(house, clicks_folder, tmp_path):
    """Three microVMs on three nodes, each with a third of the pages; one is killed, and no click is lost or counted twice."""
    document = json.loads((clicks_folder / 'application.json').read_text())
    if not house.json('apps'):
        house.json('apps', 'deploy', clicks_folder)
    document['version'], document['process']['instancesWanted'] = '2', 3
    (tmp_path / 'two.json').write_text(json.dumps(document))
    house.json('apps', 'deploy', clicks_folder, '--application', tmp_path / 'two.json')
    rows = until(lambda: clicks_shares(house), what='three healthy instances')
    process = next(a['process_id'] for a in house.json('apps') if a['version'] == '2')
    placed = [e['payload'] for e in house.json('events') if e['type'].endswith('CreateInstance') and e['payload']['processId'] == process][:3]
    assert len({p['nodeId'] for p in placed}) == 3 and len({p['partitionRanges'][0] for p in placed}) == 3, placed
    until(lambda: {a['version']: a['route'] for a in house.json('apps')} == {'1': 'replaced', '2': 'serving'}, what='the route to go to version 2')
    edge = house.edge('clicks.localhost')

    def click(page):
        status, headers, body = edge.ask('POST', f'/clicks/{page}')
        assert status == 201, body
        return headers['Slipform-Position']
    pages = [f'page-{n}' for n in range(12)]
    before = sum(told['clicks'] for told in clicks_told(house, rows, '/', None))
    for page in pages * 2:
        position = click(page)
    for page in pages:
        assert sorted(told['clicks'] for told in clicks_told(house, rows, f'/clicks/{page}', position)) == [0, 0, 2]
    totals = [told['clicks'] for told in clicks_told(house, rows, '/', position)]
    assert sum(totals) == before + 24 and sum(n > 0 for n in totals) >= 2, totals
    # The owner of a page is killed; clicks go on to be taken by the others, and it finds them when it is back.
    owner = next(row for row in rows if clicks_call(house, row, 'GET', '/clicks/page-0')[0]['clicks'] == 2)
    kill(owner['pid'])
    for page in pages:
        position = until(lambda page=page: click(page), what='a click while one of three is away')
    rows = until(lambda: (now := clicks_shares(house)) and owner['pid'] not in [r['pid'] for r in now] and now, what='three healthy instances again')
    for page in pages:
        assert sorted(told['clicks'] for told in clicks_told(house, rows, f'/clicks/{page}', position)) == [0, 0, 3]
    assert sum(told['clicks'] for told in clicks_told(house, rows, '/', position)) == before + 36


FORGER = """#!/bin/sh
# Ask each node for the events of somebody else's microVM, in its name.
ask() {  # what nc reads stays open: a client that has closed its side is one that hung up
    rm -f /tmp/ask && mkfifo /tmp/ask && exec 3<>/tmp/ask
    printf 'GET /v1/logs/LOG/events HTTP/1.0\\r\\nHost: x\\r\\nSlipform-Instance: %s\\r\\n\\r\\n' "$2" >&3
    nc -w 10 "$1" 7620 <&3 2>&1 | head -n 1 | tr -d '\\r'
}
for victim in VICTIMS; do
    IFS=, read -r node id <<END
$victim
END
    echo "asked $node [$(ask "$node" "$id")]"
done
echo asked
exec httpd -f -p "[::]:$PORT" -h /tmp
"""


def test_events_of_others_are_not_given(house, clicks_folder, tmp_path):
    """The event channel of a node knows a microVM by its address: what another guest says that it is gets nothing. That nothing is taken from
    a guest with another address than its own is test_node_network: forged_origins_are_dropped."""
    if not any(a['version'] == '2' for a in house.json('apps')):
        test_an_application_of_three_counts_together(house, clicks_folder, tmp_path)
    rows = until(lambda: clicks_shares(house), what='three healthy instances')
    log = next(a for a in house.json('apps') if a['version'] == '2')['logs'][0]['log_id']
    node_of = {r['instance_id']: str(ipaddress.IPv6Network((r['ipv6'], 64), strict=False)[1]) for r in rows}
    victims = ' '.join(','.join((node_of[r['instance_id']], r['instance_id'])) for r in rows)
    (tmp_path / 'Dockerfile').write_text('FROM busybox\nCOPY forger.sh /\nCMD ["sh", "/forger.sh"]\n')
    (tmp_path / 'forger.sh').write_text(FORGER.replace('LOG', log).replace('VICTIMS', victims))
    deployment = house.deploy(tmp_path, 'forger', '--drain-seconds', '0')['deployment_id']

    def said():
        by_instance = {}
        for line in house.json('logs', deployment):
            by_instance.setdefault(line['instance_id'], []).append(line['text'])
        done = [lines for lines in by_instance.values() if 'asked' in lines]  # the build's are there, too
        return done if len(done) == 3 else None
    for lines in until(said, what='all three to have asked'):
        told = [line for line in lines if line.startswith('asked ')]
        assert len(told) == 3, lines
        assert sum('HTTP/1.1 404 ' in line for line in told) == 1 and sum('HTTP/' in line for line in told) == 1, lines  # its own node refuses, others are out of reach
    for version in '12':
        house.run('apps', 'delete', 'clicks', version)
    until(lambda: not house.json('apps'), what='the applications to be gone')


def test_everything_killed_then_up(hello, house):
    """kill -9 of everything, then `up`: the same projects, deployments, URLs and addresses, by replay. While the log is away (not mounted),
    or another one is there, nothing is begun anew."""
    before = {(r['instance_id'], r['ipv6'], r['deployment_id']) for r in healthy(house)}
    projects = house.json('projects')
    status = house.json('status')
    supervisor = next(p['pid'] for p in status['programs'] if p['name'] == 'supervise')
    kill(supervisor)
    for name in ('node-agent', None):
        for program in status['programs']:
            if program['pid'] and program['pid'] != supervisor and (name is None or program['name'] == name) and is_alive(program['pid']):
                kill(program['pid'])
    for pid in house_processes(house):
        with contextlib.suppress(ProcessLookupError):  # it died with one that was killed a moment before
            kill(pid)
    log, away = (pathlib.Path(house.home, name) for name in ('log', 'log-away'))
    log.rename(away)
    done = house.run('up', check=False)
    assert done.returncode != 0 and 'is not there: bring it back' in done.stderr, done
    house.run('eventlog', 'create', f'files;path={log}/platform')
    done = house.run('up', check=False)
    assert done.returncode != 0 and 'is another one' in done.stderr, done
    shutil.rmtree(log)
    away.rename(log)
    house.up()
    assert house.json('projects') == projects
    until(lambda: {(r['instance_id'], r['ipv6'], r['deployment_id']) for r in healthy(house)} == before, what='the same instances')
    until(lambda: hello.who()['version'], what='hello to be served')


def house_processes(house):
    """Whatever still runs of this installation, microVMs and Envoys too."""
    pids = []
    for folder in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            command = (folder / 'cmdline').read_bytes()
        except OSError:
            continue
        if house.home.encode() in command and int(folder.name) != os.getpid():
            pids.append(int(folder.name))
    return pids


def test_down_leaves_nothing_and_up_finds_all(hello, house):
    before = {(r['instance_id'], r['ipv6']) for r in healthy(house)}
    healthy_before = [instance_id for instance_id, _ in before]
    projects = house.json('projects')
    for _ in range(12):
        hello.who()
    house.down()
    assert leftovers(house.tag, house.home) == []
    for row in healthy_before:  # each program ended by itself at its stop signal, and that was heard: no grace ran out
        log = next(pathlib.Path(house.home).glob(f'nodes/*/instances/{row}/log/current.ndjson')).read_text()
        last = [json.loads(line)['text'] for line in log.splitlines()][-2:]
        assert 'hello: stopped' in last and any('reboot: Restarting system' in line for line in last), (row, last)
    house.up()
    assert house.json('projects') == projects
    until(lambda: {(r['instance_id'], r['ipv6']) for r in healthy(house)} == before, what='the same instances')
    until(lambda: hello.who()['version'], what='hello to be served')


def test_two_installations(hello, house):
    """A second one beside the first: other ports, other names; its end touches nothing of the first."""
    before = {p['instance_id']: p['pid'] for p in house.json('status')['programs'] if p['instance_id']}
    guests = {row['instance_id']: row['pid'] for row in healthy(house)}
    other = Installation()
    try:
        other.up()
        assert other.json('status')['status'] == 'healthy' and other.tag != house.tag
        assert other.json('status')['endpoints']['edge_https'] != house.json('status')['endpoints']['edge_https']
        assert other.json('projects') == []
        other.down()
        assert leftovers(other.tag, other.home) == []
    finally:
        other.discard()
    assert {p['instance_id']: p['pid'] for p in house.json('status')['programs'] if p['instance_id']} == before
    assert {row['instance_id']: row['pid'] for row in healthy(house)} == guests and hello.who()


def test_used_port(house):
    """A port that the installation has had and somebody else took meanwhile is named, with what to do."""
    port = int(house.json('status')['endpoints']['edge_https'].rsplit(':', 1)[1])
    house.down()
    with socket.create_server(('127.0.0.1', port)):
        done = house.run('up', check=False)
        assert done.returncode == 1 and str(port) in done.stderr and 'in use' in done.stderr
    house.up()


def test_no_root(house):
    done = subprocess.run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', ROOT / 'build/slipform', 'up'],
                          env={**os.environ, 'SLIPFORM_HOME': '/var/tmp/slipform-nobody'}, capture_output=True, text=True)
    assert done.returncode == 4 and 'root' in done.stderr


def test_keys_are_rotated_lost_and_restored(house, tmp_path):
    """As root beside programs of another user; what was sealed before opens after each step. `up` makes no other keys in place of those that were lost."""
    home, status = pathlib.Path(house.home), house.json('status')
    key_file, code, made = home / 'ca/seal.key', home / 'operator/recovery-code', home / 'operator/recovery.key'
    email = f'ada.{os.urandom(8).hex()}@example.org'
    rows = lambda: list((home / 'log/platform/keys').glob('*'))
    subprocess.run(['curl', '-sf', '--max-time', '20', '--cacert', status['ca_file'], '-H', 'Content-Type: application/json', '-d', json.dumps({'email': email}),
                    status['endpoints']['public_api'] + '/v1/waitlist'], check=True, timeout=30)
    until(rows, what='a key of the address')
    owner = key_file.stat().st_uid
    assert owner != 0 and all(f.stat().st_uid == owner for f in rows())
    check = lambda file: house.run('recovery', 'check', file, '--passphrase-file', code, check=False)
    assert check(made).returncode == 0 and made.stat().st_mode & 0o777 == 0o600
    stale, away = tmp_path / 'stale.key', tmp_path / 'away.key'
    shutil.copy(made, stale)
    assert house.json('seal', 'rotate')['wrapped'] >= 1
    assert key_file.stat().st_uid == owner and all(f.stat().st_uid == owner for f in rows())
    done = check(stale)
    assert done.returncode == 1 and 'stale' in done.stdout
    assert check(made).returncode == 0
    shutil.move(made, away)
    key_file.unlink()
    done = house.run('up', check=False)
    assert done.returncode == 3 and 'slipform recovery restore' in done.stderr and not key_file.exists()
    house.run('recovery', 'restore', away, '--passphrase-file', code)
    assert key_file.stat().st_uid == owner and key_file.stat().st_mode & 0o777 == 0o400
    assert 'is erased' in house.run('erase', '-', input=email + '\n').stdout  # found by its address, so it was opened
