"""The node-agent from outside: its API over mTLS, what survives it, and what it tells a control plane. Needs root."""
import json
import os
import pathlib
import signal
import tempfile
import uuid

import pytest

from agent_world import Agent, Authority, ControlPlane, is_alive, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='a node-agent is root')

SLEEPER = '#!/bin/sh\necho "hello from $SLIPFORM_INSTANCE_ID"\nexec sleep 100000\n'


@pytest.fixture
def folder():
    """Unlike pytest's own, one that unprivileged programs reach."""
    with tempfile.TemporaryDirectory(prefix='slipform-agent-') as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@pytest.fixture
def agent(folder):
    a = Agent(folder, installation=f't{uuid.uuid4().hex[:8]}')
    a.program('sleeper', SLEEPER)
    a.start()
    yield a
    a.close()
    assert a.cgroups() == []


def pid_of(agent, instance_id):
    return agent.instance(instance_id)['statistics']['pid']


def test_runs_a_host_program_and_forgets_it(agent):
    spec = agent.host_spec('sleeper')
    status, doc = agent.call('POST', '/v1/instances', spec)
    assert (status, doc['status'], doc['owner']) == (201, 'starting', 'bootstrap')
    assert agent.call('POST', '/v1/instances', spec)[0] == 200
    doc = agent.await_status(spec['instance_id'], 'running')
    pid = doc['statistics']['pid']
    assert is_alive(pid) and doc['node'] == 'n1' and doc['zone'] == 'z1' and doc['statistics']['runtime'] == 'host'
    assert agent.call('POST', '/v1/instances', spec)[0] == 200
    assert pid_of(agent, spec['instance_id']) == pid, 'the same again changes nothing'
    assert [i['instance_id'] for i in agent.get('/v1/instances')[1]['items']] == [spec['instance_id']]
    assert agent.call('DELETE', f"/v1/instances/{spec['instance_id']}")[0] == 202
    agent.await_gone(spec['instance_id'])
    assert not is_alive(pid)
    assert not (agent.home / 'instances' / spec['instance_id']).exists()
    status, problem = agent.call('POST', '/v1/instances', spec)
    assert (status, problem['code']) == (409, 'conflict') and 'deleted' in problem['detail']


def test_stops_and_starts_as_desired(agent):
    spec = agent.host_spec('sleeper')
    agent.post(spec)
    agent.await_status(spec['instance_id'], 'running')
    path = f"/v1/instances/{spec['instance_id']}/state"
    pid = pid_of(agent, spec['instance_id'])
    assert agent.call('PUT', path, {'desired': 'draining'})[0] == 200
    assert agent.await_status(spec['instance_id'], 'draining')['statistics']['pid'] == pid
    assert agent.call('PUT', path, {'desired': 'stopped'})[1]['desired'] == 'stopped'
    agent.await_status(spec['instance_id'], 'stopped')
    assert not is_alive(pid)
    agent.kill()
    agent.start()
    assert agent.instance(spec['instance_id'])['desired'] == 'stopped', 'also after a restart'
    assert agent.call('PUT', path, {'desired': 'running'})[0] == 200
    agent.await_status(spec['instance_id'], 'running')
    assert agent.call('PUT', path, {'desired': 'backwards'})[0] == 400
    assert agent.call('PUT', path, {})[0] == 400


def test_a_killed_agent_leaves_what_it_runs_and_finds_it_again(agent):
    spec = agent.host_spec('sleeper')
    agent.post(spec)
    pid = agent.await_status(spec['instance_id'], 'running')['statistics']['pid']
    agent.kill()
    assert is_alive(pid)
    agent.start()
    doc = agent.await_status(spec['instance_id'], 'running')
    assert doc['statistics']['pid'] == pid and doc['statistics'].get('restarts', 0) == 0
    assert agent.stop() == 0, 'and a clean end of the agent is no end of the program'
    assert is_alive(pid)
    agent.start()
    assert agent.await_status(spec['instance_id'], 'running')['statistics']['pid'] == pid
    os.kill(pid, signal.SIGKILL)
    wait_for('its end is noticed though it was adopted', lambda: pid_of_or_0(agent, spec) not in (0, pid))


def pid_of_or_0(agent, spec):
    return agent.instance(spec['instance_id'])['statistics'].get('pid', 0)


def test_a_killed_program_is_restarted_in_place(agent):
    spec = agent.host_spec('sleeper')
    agent.post(spec)
    for restarts in (1, 2):
        pid = agent.await_status(spec['instance_id'], 'running')['statistics']['pid']
        os.kill(pid, signal.SIGKILL)
        wait_for('another process', lambda: pid_of_or_0(agent, spec) not in (0, pid))
        assert agent.await_status(spec['instance_id'], 'running')['statistics']['restarts'] == restarts


def test_what_died_with_the_agent_is_started_again(agent):
    spec, once = agent.host_spec('sleeper'), agent.host_spec('sleeper', restart='never')
    for s in (spec, once):
        agent.post(s)
        agent.await_status(s['instance_id'], 'running')
    pids = [pid_of(agent, s['instance_id']) for s in (spec, once)]
    agent.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    agent.start()
    assert agent.await_status(spec['instance_id'], 'running')['statistics']['pid'] not in pids
    doc = agent.await_status(once['instance_id'], 'failed')
    assert 'not started twice' in doc['cause']


def test_restart_never_runs_once(agent):
    agent.program('good', '#!/bin/sh\necho did it >> $SLIPFORM_STATE_DIR/runs\n')
    agent.program('bad', '#!/bin/sh\necho the disk is full >&2\nexit 3\n')
    good, bad = agent.host_spec('good', restart='never'), agent.host_spec('bad', restart='never')
    for s in (good, bad):
        agent.post(s)
    agent.await_status(good['instance_id'], 'stopped')
    cause = agent.await_status(bad['instance_id'], 'failed')['cause']
    assert '3' in cause and 'the disk is full' in cause
    agent.post(good)
    agent.kill()
    agent.start()
    agent.await_status(good['instance_id'], 'stopped')
    assert (agent.home / 'instances' / good['instance_id'] / 'data/runs').read_text() == 'did it\n'


def test_environment_and_settings_of_a_host_program(agent):
    agent.program('show', '#!/bin/sh\nenv\necho args "$@"\ncat "$2"\nexec sleep 100000\n')
    spec = agent.host_spec('show', workloads=['planner', 'management_api'], env=['EXTRA=1'], config={'port': 7},
                           run_as='slipform')
    identity = agent.home / 'identities' / spec['instance_id']
    identity.mkdir(parents=True)
    for name in ('cert.pem', 'key.pem'):
        (identity / name).write_text('x')
    agent.post(spec)
    agent.await_status(spec['instance_id'], 'running')
    text = agent.get(f"/v1/instances/{spec['instance_id']}/logs")[1]
    lines = [json.loads(line)['text'] for line in text.splitlines()]
    home = agent.home / 'instances' / spec['instance_id']
    for wanted in (f'SLIPFORM_INSTALLATION={agent.installation}', f"SLIPFORM_INSTANCE_ID={spec['instance_id']}",
                   'SLIPFORM_NODE=n1', 'SLIPFORM_WORKLOADS=planner,management_api', 'EXTRA=1',
                   f'SLIPFORM_CA_FILE={agent.authority.cert}', f'SLIPFORM_CERT_FILE={identity}/cert.pem',
                   f'SLIPFORM_KEY_FILE={identity}/key.pem', f'SLIPFORM_STATE_DIR={home}/data', '{"port":7}',
                   f'args --config {home}/config.yaml'):
        assert wanted in lines, wanted
    assert (home / 'data').stat().st_uid == os.stat(f"/proc/{pid_of(agent, spec['instance_id'])}").st_uid != 0


def test_another_program_file_replaces_what_runs_when_it_is_posted_again(agent):
    spec = agent.host_spec('sleeper')
    agent.post(spec)
    pid = agent.await_status(spec['instance_id'], 'running')['statistics']['pid']
    agent.program('sleeper', SLEEPER + '# newer\n')
    agent.kill()
    agent.start()
    assert agent.await_status(spec['instance_id'], 'running')['statistics']['pid'] == pid, 'an agent alone restarts nothing'
    agent.post(spec)
    wait_for('the newer one', lambda: pid_of_or_0(agent, spec) not in (0, pid))
    agent.await_status(spec['instance_id'], 'running')


def test_who_may(agent):
    uri = f'slipform://{agent.installation}'
    spec = agent.host_spec('sleeper')
    for role in ('edge', 'node', 'builder', 'node-proxy'):
        identity = agent.authority.issue(f'{uri}/{role}/x')
        assert agent.call('GET', '/v1/health', identity=identity)[0] == 200
        for method, path, doc in (('GET', '/v1/instances', None), ('POST', '/v1/instances', spec),
                                  ('GET', '/v1/node/info', None), ('DELETE', f"/v1/instances/{spec['instance_id']}", None)):
            status, problem = agent.call(method, path, doc, identity=identity)
            assert (status, problem['code']) == (403, 'denied'), (role, path)
    other = agent.authority.issue('slipform://another/operator/admin')
    assert agent.call('GET', '/v1/instances', identity=other)[0] == 403
    control = agent.authority.issue(f'{uri}/control/op1')
    assert agent.call('POST', '/v1/instances', spec, identity=control)[0] == 201
    stranger = Authority(agent.home.parent / 'stranger')
    forged = stranger.issue(f'{uri}/operator/admin')
    for identity in (forged, None):
        with pytest.raises(OSError):
            agent.call('GET', '/v1/health', identity=identity, authority=stranger)


def test_what_is_refused(agent):
    good = agent.host_spec('sleeper')
    for change, word in (({'owner': 'somebody'}, 'owner'), ({'artifact_url': 'file:../../bin/sh'}, 'artifact'),
                         ({'artifact_url': 'http://x/y'}, 'artifact'), ({'name': '../x'}, 'name'),
                         ({'runtime': 'docker'}, 'docker'), ({'restart': 'sometimes'}, 'restart'),
                         ({'instance_id': '12'}, 'instance_id'), ({'port': 70000}, 'port')):
        status, problem = agent.call('POST', '/v1/instances', {**good, **change})
        assert status in (400, 403) and word in problem['detail'], (change, problem)
    assert agent.call('POST', '/v1/instances', [])[0] == 400
    assert agent.get('/v1/instances')[1]['items'] == []
    assert agent.get('/v1/instances/12')[0] == 400
    assert agent.get(f'/v1/instances/{uuid.uuid4()}')[0] == 404


def test_a_missing_program_says_so(agent):
    spec = agent.host_spec('nowhere')
    agent.post(spec)
    doc = wait_for('a cause', lambda: (d := agent.instance(spec['instance_id'])).get('cause') and d)
    assert 'nowhere' in doc['cause']


def test_a_worker_runs_no_host_programs_of_the_installation(folder):
    a = Agent(folder, installation=f't{uuid.uuid4().hex[:8]}', labels=['worker'])
    a.program('sleeper', SLEEPER)
    a.start()
    try:
        status, problem = a.call('POST', '/v1/instances', a.host_spec('sleeper', owner=a.installation))
        assert status == 403 and 'digest' in problem['detail']
        assert a.call('POST', '/v1/instances', a.spec('x', owner=a.installation, artifact_url='file:sleeper'))[0] == 403
        assert a.call('POST', '/v1/instances', a.host_spec('sleeper'))[0] == 201
        a.plane.want(a.host_spec('sleeper', owner=a.installation))
        wait_for('a refusal in its log', lambda: 'cannot be run here' in a.log.read_text())
        assert len(a.get('/v1/instances')[1]['items']) == 1
    finally:
        a.close()


def test_follows_the_control_plane_and_touches_one_owner_only(agent):
    mine = agent.host_spec('sleeper')
    agent.post(mine)
    pid = agent.await_status(mine['instance_id'], 'running')['statistics']['pid']
    theirs = [agent.spec('web', owner=agent.installation, runtime='null') for _ in range(3)]
    for s in theirs:
        agent.plane.want(s)
    for s in theirs:
        agent.await_status(s['instance_id'], 'running')
        wait_for('told', lambda: (agent.plane.last_state(s['instance_id']) or {}).get('observed') == 'running')
    agent.plane.remove(theirs[0]['instance_id'])
    agent.await_gone(theirs[0]['instance_id'])
    agent.plane.want({**theirs[1], 'desired': 'stopped'})
    wait_for('told', lambda: agent.plane.last_state(theirs[1]['instance_id'])['observed'] == 'stopped')
    agent.kill()
    with agent.plane.changed:  # while the agent is away
        agent.plane.items.pop(theirs[2]['instance_id'])
    agent.start()
    agent.await_gone(theirs[2]['instance_id'])  # the first document is full
    assert agent.await_status(mine['instance_id'], 'running')['statistics']['pid'] == pid
    assert not any(s['instance_id'] == mine['instance_id'] for s in agent.plane.states)


def test_wipe_takes_one_owner_with_its_tombstones(agent):
    mine, gone = agent.host_spec('sleeper'), agent.host_spec('sleeper')
    for s in (mine, gone):
        agent.post(s)
    agent.call('DELETE', f"/v1/instances/{gone['instance_id']}")
    agent.await_gone(gone['instance_id'])
    theirs = agent.spec('web', owner=agent.installation, runtime='null')
    agent.plane.want(theirs)
    agent.await_status(theirs['instance_id'], 'running')
    assert agent.call('DELETE', '/v1/instances')[0] == 400
    assert agent.call('DELETE', '/v1/instances?owner=bootstrap')[0] == 202
    agent.await_gone(mine['instance_id'])
    assert agent.instance(theirs['instance_id'])['status'] == 'running'
    assert agent.call('POST', '/v1/instances', gone)[0] == 201


def test_reports_rise_and_are_sent_until_taken(agent):
    agent.plane.refuse = 3
    spec = agent.spec('web', owner=agent.installation, runtime='null')
    agent.plane.want(spec)
    wait_for('told at last', lambda: (agent.plane.last_state(spec['instance_id']) or {}).get('observed') == 'running')
    wait_for('heartbeats', lambda: len(agent.plane.reports) >= 2)
    assert agent.plane.joins[0]['node_id'] == agent.node_id and agent.plane.joins[0]['labels'] == ['control']
    report = agent.plane.reports[-1]
    assert report['status'] == 'ready' and report['capacity']['vcpus'] >= 1 and report['capacity']['memory_bytes'] > 0
    assert [i['instance_id'] for i in report['instances']] == [spec['instance_id']]
    before = [r['report_seq'] for r in agent.plane.states + agent.plane.reports]
    assert len(set(before)) == len(before)
    boot_id = report['boot_id']
    agent.kill()
    count = len(agent.plane.reports)
    agent.start()
    wait_for('a heartbeat of the new one', lambda: len(agent.plane.reports) > count)
    assert agent.plane.reports[-1]['boot_id'] == boot_id
    assert agent.plane.reports[-1]['report_seq'] > max(before)


def test_a_node_whose_reports_are_taken_for_old_goes_on_under_a_new_name(agent):
    wait_for('a heartbeat', lambda: agent.plane.reports)
    boot_id = agent.plane.past_boot = agent.plane.reports[-1]['boot_id']
    wait_for('another name', lambda: agent.plane.reports[-1]['boot_id'] != boot_id)
    assert sum(r['boot_id'] == boot_id for r in agent.plane.reports) >= 3
    assert agent.plane.reports[-1]['boot_id'].split('/')[0] == boot_id.split('/')[0]
    new = agent.plane.reports[-1]['boot_id']
    agent.kill()
    count = len(agent.plane.reports)
    agent.start()
    wait_for('a heartbeat of the new one', lambda: len(agent.plane.reports) > count)
    assert agent.plane.reports[-1]['boot_id'] == new


def test_logs_reach_the_control_plane_each_line_once_in_order(agent):
    agent.program('talker', '#!/bin/sh\nfor i in $(seq 1 2000); do echo line $i; done\necho bad >&2\nexec sleep 100000\n')
    agent.plane.refuse = 5
    spec = agent.host_spec('talker', owner=agent.installation)
    identity = agent.home / 'identities' / spec['instance_id']
    identity.mkdir(parents=True)
    for name in ('cert.pem', 'key.pem'):
        (identity / name).write_text('x')
    agent.plane.want(spec)

    def lines():
        """By number: a batch whose answer was lost comes again, and a receiver ignores what it has."""
        return {line['seq']: line for line in agent.plane.logs if line['instance_id'] == spec['instance_id']}
    wait_for('all lines', lambda: len(lines()) >= 2001)
    said = [lines()[seq] for seq in sorted(lines())]
    assert [line['text'] for line in said if line['stream'] == 'stdout'] == [f'line {i}' for i in range(1, 2001)]
    acked = agent.home / 'instances' / spec['instance_id'] / 'log/acked'
    wait_for('the answer', lambda: acked.exists() and acked.read_text() == '2001')
    count = len(agent.plane.logs)
    agent.kill()
    agent.start()
    agent.await_status(spec['instance_id'], 'running')
    os.kill(pid_of(agent, spec['instance_id']), signal.SIGKILL)
    wait_for('the lines of the next run', lambda: len(lines()) >= 4002)
    assert sorted(lines()) == list(range(1, 4003))
    assert min(line['seq'] for line in agent.plane.logs[count:]) == 2002, 'what was acknowledged is not sent again'


def test_a_host_instance_without_identity_asks_for_it(agent):
    spec = agent.host_spec('sleeper', owner=agent.installation)
    secrets = {'env': ['TOKEN=s3cret'], 'cert_pem': 'CERT\n', 'key_pem': 'KEY\n'}
    follow = agent.plane.follow
    agent.plane.follow = lambda query: secrets if 'node_id' not in query else follow(query)
    agent.plane.want(spec)
    agent.await_status(spec['instance_id'], 'running')
    folder = agent.home / 'instances' / spec['instance_id'] / 'identity'
    assert (folder / 'key.pem').read_text() == 'KEY\n' and (folder / 'key.pem').stat().st_mode & 0o7 == 0
    assert f'/v1/instances/{spec["instance_id"]}/secrets' in [path for _, path, _ in agent.plane.requests]
    env = pathlib.Path(f"/proc/{pid_of(agent, spec['instance_id'])}/environ").read_text().split('\0')
    assert f'SLIPFORM_CERT_FILE={folder}/cert.pem' in env and 'TOKEN=s3cret' in env


def test_node_info_and_resources(agent):
    spec = agent.spec('web', owner=agent.installation, runtime='null')
    agent.plane.want(spec)
    agent.await_status(spec['instance_id'], 'running')
    info = agent.get('/v1/node/info')[1]
    assert (info['node_id'], info['name'], info['region']) == (agent.node_id, 'n1', 'r1')
    assert info['kernel'] == os.uname().release and info['version']
    assert {'root', 'kernel', 'cgroup', 'disk', 'memory'} <= {row['check'] for row in info['preflight']}
    resources = agent.get('/v1/node/resources')[1]
    assert resources['capacity']['disk_bytes'] > 0 and resources['used']['vcpus'] == 1
    assert resources['instances'][0]['instance_id'] == spec['instance_id']


def test_two_agents_do_not_share_a_home(agent):
    first = agent.process
    agent.start('--stop-all')
    assert agent.process.wait(timeout=120) != 0
    assert 'another node-agent works in' in agent.log.read_text()
    agent.process = first


def test_stop_all_leaves_nothing_and_everything_comes_back(agent):
    specs = [agent.host_spec('sleeper'), agent.host_spec('sleeper')]
    pids = []
    for s in specs:
        agent.post(s)
        pids.append(agent.await_status(s['instance_id'], 'running')['statistics']['pid'])
    agent.stop_all()
    assert not any(map(is_alive, pids)) and agent.cgroups() == []
    agent.start()
    for s in specs:
        doc = agent.await_status(s['instance_id'], 'running')
        assert doc['desired'] == 'running' and doc['statistics']['pid'] not in pids


def test_the_children_of_a_killed_program_stay_and_those_of_a_removed_one_go(agent):
    agent.program('parent', '#!/bin/sh\n[ -e "$SLIPFORM_STATE_DIR/child" ] || { setsid sleep 100000 & '
                            'echo $! > "$SLIPFORM_STATE_DIR/child"; }\nexec sleep 99999\n')
    spec = agent.host_spec('parent')
    agent.post(spec)
    pid = agent.await_status(spec['instance_id'], 'running')['statistics']['pid']
    child = int((agent.home / 'instances' / spec['instance_id'] / 'data/child').read_text())
    os.kill(pid, signal.SIGKILL)
    wait_for('restarted', lambda: pid_of_or_0(agent, spec) not in (0, pid))
    agent.await_status(spec['instance_id'], 'running')
    assert is_alive(child), 'an Envoy outlives the program that drives it'
    agent.call('DELETE', f"/v1/instances/{spec['instance_id']}")
    agent.await_gone(spec['instance_id'])
    assert not is_alive(child)


def test_every_replica_hears_the_node_and_any_will_do(folder):
    """Each replica votes on what is lost, so each gets the heartbeats; states, output and wishes go by one, and by another when that one is away or reads only."""
    a = Agent(folder, installation=f't{uuid.uuid4().hex[:8]}')
    first, second = a.plane, ControlPlane(a.authority, a.installation)
    a.settings['management_api'] = [first.url, second.url]
    try:
        a.start()
        for plane in (first, second):
            wait_for('two heartbeats', lambda p=plane: len(p.reports) >= 2)
        assert {r['boot_id'] for r in first.reports} == {r['boot_id'] for r in second.reports}
        assert first.joins and not second.joins
        spec = a.spec('web', owner=a.installation, runtime='null')
        for plane in (first, second):  # one log
            plane.want(spec)
        wait_for('told', lambda: (first.last_state(spec['instance_id']) or {}).get('observed') == 'running')
        assert not second.states

        first.refuse = 10 ** 6  # it does not see the log's end any more
        count = len(second.reports)
        for plane in (first, second):
            plane.want({**spec, 'desired': 'stopped'})
        wait_for('told to the other', lambda: (second.last_state(spec['instance_id']) or {}).get('observed') == 'stopped')
        wait_for('heartbeats go on', lambda: len(second.reports) >= count + 2)

        second.close()  # and back: the other one is gone altogether
        first.refuse = 0
        first.want(spec)
        wait_for('told to the first', lambda: first.last_state(spec['instance_id'])['observed'] == 'running')
    finally:
        a.close()
