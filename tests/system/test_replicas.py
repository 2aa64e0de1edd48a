"""Several replicas of the control plane over one log: who goes first, who answers whom when it does not see the log any more, and what
happens when one is killed, or stands still and goes on. Real programs; the test plays agents, edges and people."""
import base64
import concurrent.futures
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import uuid

import pytest

from patience import PATIENCE_S
from platform_world import EDGE_LIVE_S, NODE_TIMEOUT_S, PROGRAM, Answer, Client, Program, World, until

SLIPFORM = PROGRAM.parent / 'slipform'
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=f'{PROGRAM} is not built')
ALL = ['management-api', 'public-api', 'planner', 'watchdog', 'certificates']


class Replicas(World):
    """Two replicas that do everything. Agents report to both, and follow `management`."""

    def __init__(self, **tuning):
        super().__init__(**tuning)
        figures = self.management.settings['tuning']
        self.first, self.second = (Program(self, name, ALL, figures) for name in ('first', 'second'))
        self.all = [self.first, self.second]

    def start(self):
        for program in self.all:
            program.start()
        self.turn_to(self.first)

    def turn_to(self, program):
        """Everybody asks this one, and reports to the others that are there too."""
        self.management = self.public = program
        self.operator = self.user = Client(self, program.port, token=self.token)
        self.others = [p for p in self.all if p is not program and p.process.poll() is None]

    def other(self, program):
        return self.second if program is self.first else self.first

    def client_of(self, program, cert=None):
        return Client(self, program.port, cert) if cert else Client(self, program.port, token=self.token)

    def go_on_for(self, seconds):
        """Everybody does their work, and nothing is to come of it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
            time.sleep(0.1)

    def counts(self, program):
        found = {}
        for line in self.client_of(program).ok('GET', '/metrics').body.decode().splitlines():
            if line.startswith(('slipform_append', 'slipform_plans')):
                found[line.rsplit(' ', 1)[0]] = int(float(line.rsplit(' ', 1)[1]))
        return {'conflicts': found['slipform_append_conflicts_total'], 'appends': found['slipform_appends_total'],
                **{turn: found[f'slipform_plans_total{{turn="{turn}"}}'] for turn in ('own', 'left', 'stood_in')}}

    def lease(self, program):
        try:
            return json.loads((self.folder / f'log/leases/{program.name}').read_text())
        except FileNotFoundError:
            return {}

    def settle(self):
        """All that run plan and vote, and know that of each other, and of nobody else."""
        names = sorted(p.name for p in self.all if p.process.poll() is None)

        def known(program):
            rows = self.client_of(program).ok('GET', '/v1/replica').json['leases']
            return sorted(r['replica'] for r in rows) == names and all(r['votes'] and r['plans'] for r in rows)
        self.until(lambda: all(known(p) for p in self.all if p.process.poll() is None), 'every replica plans and votes, and all know it')

    def preferred(self):
        """The replica that plans for this log: seen by a plan that somebody appends."""
        before = {p: self.counts(p) for p in self.all}
        project = self.user.ok('POST', '/v1/projects', {'name': f'probe-{time.monotonic_ns()}'}, 201).json
        made = self.deploy(project['project_id']).json
        self.until(lambda: self.deployment(made['deployment_id']).get('builder_instance_id'), 'a builder is placed')
        self.user.ok('PUT', f'/v1/deployments/{made["deployment_id"]}/status', {'status': 'cancelled'})
        found = [p for p in self.all if self.counts(p)['own'] > before[p]['own']]
        assert len(found) == 1, found
        return found[0]

    def events(self, kind, program=None):
        items, after = [], 0
        while True:
            page = self.client_of(program or self.management).ok('GET', f'/v1/events?after={after}').json
            items += page['items']
            if 'next' not in page:
                return [e for e in items if e['type'] == kind]
            after = page['next']

    def live(self, name, **query):
        project = self.user.ok('POST', '/v1/projects', {'name': name}, 201).json
        made = self.deploy(project['project_id'], **query).json
        self.build(made['deployment_id'])
        d = self.until(lambda: (r := self.deployment(made['deployment_id']))['status'] in ('live', 'failed') and r, f'{name} is live')
        assert d['status'] == 'live', d
        return project, d

    def hashes_agree(self):
        def same():
            a, b = (self.client_of(p).get('/readyz') for p in self.all)
            return a.status == b.status == 200 and (a.json['position'], a.json['model_hash']) == (b.json['position'], b.json['model_hash'])
        until(same, 'both replicas hold the same model')

    def discard(self):
        for program in self.all:
            if program.process and program.process.poll() is None:
                program.process.send_signal(signal.SIGCONT)
                program.kill()
        self.management, self.public = self.first, self.second
        super().discard()


@pytest.fixture
def world():
    world = Replicas()
    try:
        world.start()
        world.populate()
        world.settle()
        yield world
    finally:
        world.discard()


def once(events, *members):
    """No two events say the same thing of the same object."""
    seen = [tuple(json.dumps(e['payload'].get(m)) for m in members) for e in events]
    assert len(seen) == len(set(seen)), [s for s in seen if seen.count(s) > 1]


def three_deployments(world, name):
    """What each replica did about them."""
    before = {p: world.counts(p) for p in world.all}
    for i in range(3):
        world.live(f'{name}-{i}')
    after = {p: world.counts(p) for p in world.all}
    return {p: {k: after[p][k] - before[p][k] for k in after[p]} for p in world.all}


def test_one_goes_first_and_the_other_stands_in(world):
    """Two that plan: one appends, the other leaves it. The one is killed: the other does it, a second later; then, alone, at once."""
    first = world.preferred()
    other = world.other(first)
    world.turn_to(other)  # commands come to the one that does not plan them: the hard case
    for name in ('shop', 'store', 'stall', 'stand', 'booth'):  # the other one stands in for who is late by a second: on a busy machine that may be
        did = three_deployments(world, name)
        print('three deployments:', {p.name: did[p] for p in world.all})
        assert did[first]['own'] > 0, did
        conflicts, appends = (sum(d[what] for d in did.values()) for what in ('conflicts', 'appends'))
        if did[other]['own'] == did[other]['stood_in'] == 0 and conflicts * 5 <= appends:  # what is left are plans that meet a report
            break
    else:
        raise AssertionError(did)
    first.kill()
    killed_at = time.monotonic()
    world.turn_to(other)
    project = world.user.ok('POST', '/v1/projects', {'name': 'orphan'}, 201).json
    began = time.monotonic()
    made = world.deploy(project['project_id']).json
    world.until(lambda: world.deployment(made['deployment_id']).get('builder_instance_id'), 'the other one stands in')
    waited = time.monotonic() - began
    print(f'the other one stood in after {waited:.1f} s')
    assert waited > 0.9, waited
    assert world.counts(other)['stood_in'] > 0 or time.monotonic() - killed_at > NODE_TIMEOUT_S, 'the dead one still had its lease'
    world.settle()
    own = world.counts(other)['own']
    world.build(made['deployment_id'])
    world.until(lambda: world.deployment(made['deployment_id'])['status'] == 'live', 'it is live')
    assert world.counts(other)['own'] > own, 'alone it plans at once'
    once(world.events('CreateImage'), 'imageId')
    once(world.events('CreateImage'), 'projectId', 'contextDigest')
    once([e for e in world.events('DeploymentStatusChange')], 'deploymentId', 'status', 'cause')
    once(world.events('IssueCertificate'), 'host')
    creates = world.events('CreateInstance')
    once(creates, 'address', 'processId', 'nodeId', 'instanceId')
    assert len([e for e in creates if e['payload']['processId'] == made['deployment_id']]) == 3


def meanwhile(world, *words):
    """What the CLI says while everybody goes on reporting."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        said = pool.submit(world.cli, *words, check=False)
        world.until(said.done, 'it answers')
        return said.result().stdout


def test_status_shows_what_is_wrong(world):
    """What a person sees who is called at night: each replica's log, store and leases, who goes first, who does not hear which node."""
    told = [world.client_of(p).ok('GET', '/v1/replica').json for p in world.all]
    assert [t['replica'] for t in told] == ['first', 'second']
    assert [t['state'] for t in told] == ['live', 'live'] and all(t['lag_events'] == 0 and 0 <= t['end_seen_ms_ago'] < 60000 for t in told)
    assert all(t['votes'] and t['plans'] and t['notifier'] == {'is_configured': False, 'is_connected': False, 'hints': 0, 'hint_ms_ago': -1} for t in told)
    assert sorted(t['goes_first'] for t in told) == [False, True], 'one goes first, and both say so'
    first = next(t['replica'] for t in told if t['goes_first'])
    for t in told:
        assert [row['replica'] for row in t['leases']] == ['first', 'second']
        assert all(row['votes'] and row['plans'] and row['goes_first'] == (row['replica'] == first) and row['left_ms'] > 0 for row in t['leases'])
        assert 'suspects' not in t
    world.user.ok('POST', '/v1/projects', {'name': 'written'}, 201)
    world.step()
    told = {p.name: world.client_of(p).ok('GET', '/v1/replica').json for p in world.all}
    store = told['first']['store']
    assert store['kind'] == 'files' and store['has_appended'] and 0 < store['append_us'] and 0 <= store['append_ms_ago'] < 60000 and 'append_error' not in store
    edges = world.until(lambda: [t['edges'] for t in (world.client_of(p).ok('GET', '/v1/replica').json for p in world.all)
                                 if [e['edge'] for e in t.get('edges', [])] == ['operator-1']], 'an edge is known')
    assert 0 <= edges[0][0]['silent_ms'] < 60000
    # one replica does not hear one node: it says so alone, and the node stays
    deaf, node = world.second, world.nodes[1]
    heartbeat = node.heartbeat
    node.heartbeat = lambda program=None: None if program is deaf else heartbeat(program)
    suspects = world.until(lambda: world.client_of(world.first).ok('GET', '/v1/replica').json.get('suspects'), 'a vote is shown')
    assert [(row['node'], row['status'], row['suspected_by']) for row in suspects] == [(node.name, 'ready', ['second'])]
    status = json.loads(meanwhile(world, 'status', '--json'))
    assert [row['replica'] for row in status['leases']] == ['first', 'second'] and status['suspects'] == suspects
    assert any(p['code'] == 'node-suspected' and p['title'] == f"node '{node.name}' is not heard by second" for p in status['problems'])
    row = status['replicas'][0]
    assert (row['replica'], row['status'], row['store']['kind']) == ('first', 'live', 'files') and 'leases' not in row
    text = meanwhile(world, 'status')
    for part in ('LAG, AT END', 'LAST APPEND', 'by asking', 'LEASE OF', 'NOT HEARD BY', 'ROUTES AS OF EVENT'):
        assert part in text, text
    node.heartbeat = heartbeat
    # the store takes nothing any more: somebody holds it
    lost = world.client_of(world.first)
    lock = os.open(world.folder / 'log/lock', os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert lost.ask('POST', '/v1/projects', {'name': 'held'}).status == 503
        said = lost.ok('GET', '/v1/replica').json
        assert said['state'] == 'read-only' and 'the last append failed' in said['cause'] and said['store']['append_us'] > 3.5e6, said
        problems = {p['code']: p for p in json.loads(world.cli('status', '--json', check=False).stdout)['problems']}
        assert 'cannot append to the log' in problems['store-failing']['title'] and said['store']['append_error'] == problems['store-failing']['detail']
    finally:
        os.close(lock)
    until(lambda: lost.ask('POST', '/v1/projects', {'name': 'free'}).status == 201, 'it goes on')
    assert lost.ok('GET', '/v1/replica').json['state'] == 'live' and 'append_error' not in lost.ok('GET', '/v1/replica').json['store']
    # one is gone: its lease runs out
    world.second.kill()
    until(lambda: [r['replica'] for r in lost.ok('GET', '/v1/replica').json['leases']] == ['first'], 'the lease of the dead is over')
    assert lost.ok('GET', '/v1/replica').json['goes_first']


def problems_of(world):
    return {p['code']: p for p in json.loads(meanwhile(world, 'status', '--json'))['problems']}


def test_status_names_a_replica_that_is_down(world):
    """Two operators in the inventory, one of which answers nobody: the row and the problem say which. Of a control plane with one replica it is told once, as that of the control plane."""
    assert not {'replica-down', 'replica-behind', 'notifier-away', 'store-failing'} & set(problems_of(world))
    path = world.folder / 'home/installation.json'
    alone = path.read_text()
    home = json.loads(alone)
    home['nodes'].append({**home['nodes'][0], 'node_id': str(uuid.uuid4()), 'name': 'operator-2', 'number': 2, 'namespace': True})
    path.write_text(json.dumps(home))
    status = json.loads(meanwhile(world, 'status', '--json'))
    assert [(r['node'], r['status']) for r in status['replicas']] == [('operator-1', 'live'), ('operator-2', 'down')]
    down = [p for p in status['problems'] if p['code'] == 'replica-down']
    assert len(down) == 1 and "on 'operator-2' is not live" in down[0]['title'] and down[0]['detail'], down
    path.write_text(alone)
    world.first.kill()  # which that home leads to
    found = {p['code'] for p in json.loads(world.cli('status', '--json', check=False).stdout)['problems']}
    assert 'control-plane-down' in found and 'replica-down' not in found


def test_a_connection_that_is_reset_is_another_operators_to_answer(world):
    """As of a program that hung and is killed: the CLI asks the next operator, also with what changes something, for nobody has got it."""
    world.cli('projects')
    path = world.folder / 'home/installation.json'
    home = json.loads(path.read_text())
    home['nodes'].append({**home['nodes'][0], 'node_id': str(uuid.uuid4()), 'name': 'operator-2', 'number': 2})
    listener = socket.create_server(('127.0.0.1', 0))
    home['public_api_port'] = listener.getsockname()[1]  # of both: the first connection is reset, the second one answered
    path.write_text(json.dumps(home))

    def serve():
        hung = listener.accept()[0]
        hung.recv(100)  # of a handshake
        hung.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        hung.close()
        near, far = listener.accept()[0], socket.create_connection(('127.0.0.1', world.first.port))
        back = threading.Thread(target=hand_on, args=(far, near))
        back.start()
        hand_on(near, far)
        back.join()
        near.close()
        far.close()
    for words, exit_code in ((('projects',), 0), (('erase', str(uuid.uuid4())), 3)):  # 3: the second one knows no such person
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        done = world.cli(*words, check=False)
        assert done.returncode == exit_code, done.stderr
        server.join(20)
        assert not server.is_alive()
    listener.close()


def hand_on(source, sink):
    with contextlib.suppress(OSError):  # the other end has gone
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_one_that_can_append_again_says_so_by_itself():
    """An append failed, and there is nothing to write: it says read-only for as long as the store takes nothing, then that it is ready, and no event says that."""
    world = Replicas()
    try:
        for program in world.all:
            program.settings['event_store'] += ';lock_wait_ms=1000'
        world.start()
        until(lambda: world.user.ask('POST', '/v1/projects', {'name': 'before'}).status == 201, 'it takes a write')
        asked = world.client_of(world.first)
        lock = os.open(world.folder / 'log/lock', os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert asked.ask('POST', '/v1/projects', {'name': 'held'}).status == 503
            failed = time.monotonic()

            def tried_again():
                said = asked.get('/readyz')
                assert said.status == 503 and said.json['state'] == 'read-only', said
                return time.monotonic() - failed > 3
            until(tried_again, 'it has asked again in vain', seconds=60)
            before = asked.ok('GET', '/v1/replica').json
        finally:
            os.close(lock)
        until(lambda: asked.get('/readyz').status == 200, 'it is ready again', seconds=60)
        said = asked.ok('GET', '/v1/replica').json
        assert said['state'] == 'live' and 'append_error' not in said['store'], said
        assert (said['seq'], said['appends']) == (before['seq'], before['appends']), 'nothing was appended'
    finally:
        world.discard()


def test_a_write_through_one_is_seen_on_the_other(world):
    """Slipform-Position of a write through one replica, sent to the other, which has to wait for it: never without the write."""
    a, b = (world.client_of(p) for p in world.all)
    for i in range(50):
        writer, reader = (a, b) if i % 2 == 0 else (b, a)
        wrote = writer.ok('POST', '/v1/projects', {'name': f'written-{i}'}, 201)
        read = reader.ok('GET', '/v1/projects', headers={'Slipform-Position': wrote.headers['Slipform-Position']})
        assert wrote.json['project_id'] in [p['project_id'] for p in read.json['items']]
        assert read.headers['Slipform-Position'] and 'Slipform-Stale' not in read.headers
        one = reader.ok('GET', f'/v1/projects/{wrote.json["project_id"]}', headers={'Slipform-Position': wrote.headers['Slipform-Position']})
        assert one.json['name'] == f'written-{i}'


def test_an_edge_that_asks_another_replica_is_waited_for(world):
    """The edge asks one replica, the other one plans: what drains stays until that edge has switched, longer than an edge is waited for."""
    planner = world.preferred()
    world.turn_to(world.other(planner))  # which the edge asks from now on
    project, old = world.live('waited-for')
    ran = {i['instance_id'] for i in instances_of(world, old)}
    world.edge.confirms = False
    made = world.deploy(project['project_id'], text='FROM scratch\n# second\n', drain_seconds=0).json
    world.build(made['deployment_id'], b'another root file system')
    world.until(lambda: world.deployment(made['deployment_id'])['status'] == 'live', 'the second one is live')
    switched = time.monotonic()

    def held():
        assert {i['instance_id'] for i in instances_of(world, old) if i['desired'] in ('running', 'draining')} == ran, 'it was taken from under an edge'
        return time.monotonic() - switched > EDGE_LIVE_S + 2
    world.until(held, 'it drains for longer than a silent edge is waited for')
    world.edge.confirms = True
    confirmed = time.monotonic()
    world.until(lambda: not instances_of(world, old), 'it has gone once the edge has switched')
    print(f'gone {time.monotonic() - confirmed:.1f} s after the edge confirmed it to the replica that does not plan')
    assert world.counts(planner)['own'] > 0
    drained = [e['payload'] for e in world.events('DeploymentStatusChange') if e['payload']['deploymentId'] == old['deployment_id']]
    assert any('"name":"operator-1"' in json.dumps(d.get('because'), separators=(',', ':')).replace('\\', '') for d in drained), drained
    world.edge, edge = None, world.edge  # silent for everybody: then nobody waits for it
    _, third = world.live('not-waited-for', drain_seconds=0)
    world.user.ok('PUT', f'/v1/deployments/{third["deployment_id"]}/status', {'status': 'stopped'})
    world.until(lambda: not instances_of(world, third), 'what only a silent edge could lead to goes')
    world.edge = edge


@pytest.mark.parametrize('step, whom', [('queued', 'planning'), ('building', 'asked'), ('starting', 'planning')])
def test_one_is_killed_in_the_middle_of_a_deployment(world, step, whom):
    """Whichever dies, at whatever step: the deployment becomes live through the other one, and nothing happens twice."""
    preferred = world.preferred()
    victim = preferred if whom == 'planning' else world.other(preferred)
    world.turn_to(victim)
    project = world.user.ok('POST', '/v1/projects', {'name': 'phoenix'}, 201).json
    made = world.deploy(project['project_id'])
    seen = {'Slipform-Position': made.headers['Slipform-Position']}
    deployment = made.json['deployment_id']
    if step != 'queued':
        world.until(lambda: world.deployment(deployment).get('builder_instance_id'), 'a builder is placed')
    if step == 'starting':
        world.build(deployment)
    victim.kill()
    world.turn_to(world.other(victim))
    assert world.user.ok('GET', f'/v1/deployments/{deployment}', headers=seen).json['deployment_id'] == deployment
    if step != 'starting':
        world.build(deployment)
    d = world.until(lambda: (r := world.deployment(deployment))['status'] in ('live', 'failed') and r, 'it is live through the other one')
    assert d['status'] == 'live', d
    creates = [e for e in world.events('CreateInstance') if e['payload']['processId'] == deployment]
    assert len(creates) == 3
    once([e for e in world.events('CreateImage') if e['payload']['projectId'] == project['project_id']], 'contextDigest')
    victim.start()
    world.hashes_agree()


# ---- a log that cannot be folded ----

def eventlog(world, *words):
    return subprocess.run([SLIPFORM, 'eventlog', *map(str, words)], check=True, capture_output=True, text=True, timeout=PATIENCE_S)


def is_refused(answer):
    return answer.status == 503 and answer.json['code'] == 'unavailable' and answer.headers['Retry-After'] and answer


def test_reads_go_on_where_the_fold_has_stopped(world):
    """An event that no fold takes: who only looks is answered from the last good position, and told so; who would act on it, or writes,
    is not. Set aside, the replicas go on by themselves."""
    project, d = world.live('kept')
    good = world.operator.ok('GET', '/readyz').json
    feed = world.operator.ok('GET', '/v1/projects').json
    certificate = world.events('IssueCertificate')[0]['payload']['certificateId']
    lost = len(world.events('NodeStatusChange'))
    bad = good['seq'] + 1
    eventlog(world, 'set-aside', world.folder / 'log', 3, '--reason', 'nobody passed over it', '--unchecked')
    for program in world.all:
        until(lambda: world.client_of(program).get('/readyz').status == 503, 'it is not ready')
        people, node, edge = world.client_of(program), world.client_of(program, world.nodes[1].cert), world.client_of(program, world.edge.cert)
        why = people.get('/readyz')
        assert why.headers['Content-Type'] == 'application/problem+json'
        assert why.json['state'] == 'stalled' and f'event {bad} of log' in why.json['detail'], why
        assert (why.json['position'], why.json['seq'], why.json['model_hash']) == (good['position'], good['seq'], good['model_hash'])
        assert people.get('/healthz').status == 200
        # who only looks
        for path in ('/v1/projects', '/v1/deployments', f'/v1/deployments/{d["deployment_id"]}', '/v1/instances', '/v1/nodes', '/v1/routes', '/v1/events'):
            answer = people.ok('GET', path)
            assert answer.headers['Slipform-Position'] == good['position'] and answer.headers['Slipform-Stale'] == 'stalled', path
        assert people.ok('GET', f'/v1/projects?cursor={feed["cursor"]}&wait=1').json['items'] == []
        assert people.ok('GET', '/v1/projects', headers={'Slipform-Position': good['position']}).json['items'] == feed['items']
        ahead = next_position(good['position'])  # somebody has seen more, of a replica that goes on
        for query, headers in ((f'?cursor={ahead}', {}), ('', {'Slipform-Position': ahead})):
            answer = people.get(f'/v1/projects{query}', headers=headers)
            assert answer.status == 503 and answer.json['code'] == 'behind', answer
        # who would act on it
        assert is_refused(node.get(f'/v1/instances?node_id={world.nodes[1].id}'))
        assert is_refused(node.get(f'/v1/instances?node_id={world.nodes[1].id}&cursor={world.nodes[1].cursor}'))
        assert is_refused(edge.get('/v1/routes')) and is_refused(edge.get(f'/v1/routes?cursor={world.edge.cursor}&wait=1'))
        # what its id names for ever
        assert edge.get(f'/v1/certificates/{certificate}').status == 200 and node.get(f'/v1/images/{d["image_id"]}/download').status == 200
        # who writes
        assert 'has stopped' in is_refused(people.ask('POST', '/v1/projects', {'name': 'too late'})).json['detail']
        assert is_refused(people.ask('PUT', f'/v1/deployments/{d["deployment_id"]}/status', {'status': 'stopped'}))
        # a heartbeat is heard, though it cannot be recorded
        heard = lambda: people.ok('GET', f'/v1/nodes/{world.nodes[1].id}').json['last_seen']
        before = heard()
        time.sleep(0.01)
        answer = node.ask('PUT', f'/v1/nodes/{world.nodes[1].id}/status', {'boot_id': world.nodes[1].boot, 'report_seq': world.nodes[1].next_seq(), 'status': 'ready'})
        assert is_refused(answer) and heard() > before
        until(lambda: world.lease(program).get('abstains') and not world.lease(program).get('plans'), 'its lease says that it abstains')
        assert 'slipform_live 0' in people.ok('GET', '/metrics').body.decode()
    time.sleep(NODE_TIMEOUT_S + 1)  # longer than a node is waited for: nobody may be lost by those who cannot know
    told = lambda: {p['code']: p for p in json.loads(world.cli('status', '--json').stdout)['problems']}
    behind = until(lambda: told().get('replica-behind'), 'it is said that they are behind')
    assert "on 'operator-1' is behind the log" in behind['title'] and behind['detail'].startswith('1 events behind'), behind
    eventlog(world, 'set-aside', world.folder / 'log', bad, '--reason', 'a mistake')
    for program in world.all:
        until(lambda: world.client_of(program).get('/readyz').status == 200, 'it goes on by itself')
    world.until(lambda: world.user.ok('GET', '/v1/projects').headers.get('Slipform-Stale') is None, 'answers are whole again')
    until(lambda: 'replica-behind' not in told(), 'and nobody is behind')
    world.until(lambda: all(world.lease(p).get('plans') for p in world.all), 'they plan again')
    assert len(world.events('NodeStatusChange')) == lost, 'no node was lost meanwhile'
    world.edge.step()
    assert project['project_id'] in world.edge.routes
    world.live('afterwards')
    world.hashes_agree()


def next_position(position, by=1):
    raw = bytearray(base64.urlsafe_b64decode(position + '=' * (-len(position) % 4)))
    raw[-8:] = (int.from_bytes(raw[-8:], 'big') + by).to_bytes(8, 'big')
    return base64.urlsafe_b64encode(bytes(raw)).decode().rstrip('=')


# ---- a replica that stands still and goes on ----

class Waiting:
    """A request that is on its way to a program that stands still: sent on a connection that was set up before."""

    def __init__(self, client, path):
        self.client, self.path, self.connection = client, path, client.connection()
        self.ask('/healthz')
        assert self.answer().status == 200

    def ask(self, path=None):
        headers = {'Authorization': f'Bearer {self.client.token}'} if self.client.token else {}
        self.connection.request('GET', path or self.path, headers=headers)

    def answer(self):
        response = self.connection.getresponse()
        return Answer(response, response.read())


def test_a_replica_that_stood_still_does_not_act_on_what_it_knew(world):
    """One is frozen for longer than a node is waited for; the other goes on. Thawed, the first thing that it finds are requests of agents and
    edges that know nothing yet: it must not tell them what is over."""
    frozen = world.preferred()
    other = world.other(frozen)
    gone, d = world.live('gone', drain_seconds=0)
    world.turn_to(other)
    edge, node = world.edge.cert, next(n for n in world.nodes if n.name == instances_of(world, d)[0]['node'])
    waiting = [Waiting(world.client_of(frozen, edge), '/v1/routes') for _ in range(4)]
    waiting += [Waiting(world.client_of(frozen, node.cert), f'/v1/instances?node_id={node.id}') for _ in range(4)]
    people = Waiting(world.client_of(frozen), '/v1/deployments')
    voted = lambda: [e for kind in ('SuspectNode', 'NodeStatusChange') for e in world.events(kind)]
    votes = len(voted())
    old = int(world.operator.ok('GET', '/readyz').json['seq'])
    freeze(world, frozen)
    world.others = []
    try:
        world.user.ok('DELETE', f'/v1/projects/{gone["project_id"]}', status=202)
        world.until(lambda: not instances_of(world, d), 'what it ran is gone')
        ids = set(node.instances)
        project, new = world.live('new')  # perhaps with the addresses of what is gone
        world.until(lambda: time.monotonic() - world.frozen_at > 1.5 * NODE_TIMEOUT_S, 'it has stood still for longer than it may speak')
        for request in [*waiting, people]:
            request.ask()
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    for request in waiting:
        answer = request.answer()
        if answer.status == 200:  # by then it had read the log to its end
            listed = json.dumps(answer.json)
            assert gone['project_id'] not in listed and d['deployment_id'] not in listed, f'{request.path}: {answer}'
        else:
            assert is_refused(answer), answer
    answer = people.answer()
    assert answer.status == 200
    assert 'Slipform-Stale' in answer.headers or seq_of(answer.headers['Slipform-Position']) > old, answer.headers
    world.turn_to(other)
    world.hashes_agree()
    world.go_on_for(NODE_TIMEOUT_S + 0.5)  # longer than nodes are waited for
    assert len(voted()) == votes, 'it voted by what it had heard before, or not heard meanwhile'
    until(lambda: world.client_of(frozen).get('/readyz').status == 200, 'it is back')
    world.turn_to(frozen)
    world.live('through the one that stood still')
    world.hashes_agree()


def seq_of(position):
    return int.from_bytes(base64.urlsafe_b64decode(position + '=' * (-len(position) % 4))[-8:], 'big')


def instances_of(world, d):
    return world.operator.items(f'/v1/instances?deployment_id={d["deployment_id"]}')


def freeze(world, program):
    """Not while it holds the log's lock: a program that stands still in there holds up everybody, whatever the platform does."""
    lock = os.open(world.folder / 'log/lock', os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        program.process.send_signal(signal.SIGSTOP)
        world.frozen_at = time.monotonic()
        until(lambda: open(f'/proc/{program.process.pid}/stat').read().rsplit(')', 1)[1].split()[0] == 'T', 'it stands still')
    finally:
        os.close(lock)


def test_a_node_that_joins_gets_its_share():
    """Three on the only worker that is there; two more join, in other zones: one after the other moves, an edge always leads to three or
    more that run, and each of the old ones is stopped only after its heir serves. Then nothing moves any more."""
    world = Replicas(spread_after_seconds=1, settle_seconds=0)
    try:
        world.start()
        world.populate()
        workers, world.nodes = world.nodes[1:], world.nodes[:2]  # the others are not ready yet
        world.settle()
        project, d = world.live('spread')
        ids = {n.name: n.id for n in workers}

        def instances():
            return [i for i in world.operator.items(f'/v1/instances?deployment_id={d["deployment_id"]}') if i['spec']['desired'] == 'running']

        def on_each():
            return sorted(i['node_id'] for i in instances())

        def leads_to():
            route = next((r for r in world.edge.routes.values() if r['deployment_id'] == d['deployment_id']), None)
            return {e['instance_id'] for e in route['endpoints']} if route else set()
        world.until(lambda: len(leads_to()) == 3, 'the edge leads to three')
        assert on_each() == [ids['worker-1']] * 3
        world.nodes += workers[1:]

        def spread():
            running = {i for n in world.nodes for i, (status, _) in n.reported.items() if status == 'running'}
            led = leads_to()
            assert len(led) >= 3 and led <= running, (led, running)
            return on_each() == sorted(ids.values()) and len(led) == 3
        world.until(spread, lambda: f'one on each worker, not {instances()}', seconds=40)
        created = [e['payload'] for e in world.events('CreateInstance') if e['payload']['processId'] == d['deployment_id']]
        assert [c['because']['rule'] for c in created] == ['start'] * 3 + ['spread'] * 2, created
        world.hashes_agree()
    finally:
        world.discard()
