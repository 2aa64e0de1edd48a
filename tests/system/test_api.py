"""The contract of the middle of the house: what the management and the public API promise, over the real programs."""
import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import uuid

import pytest

from platform_world import EDGE_LIVE_S, INSTALLATION, PROGRAM, ROOT, Authority, Client, Node, Program, World, until

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=f'{PROGRAM} is not built')


@pytest.fixture(scope='module')
def world():
    world = World()
    try:
        world.start()
        world.populate()
        yield world
    finally:
        world.discard()


def project_of(world, name):
    found = [p for p in world.user.items('/v1/projects') if p['name'] == name]
    return found[0] if found else world.user.ok('POST', '/v1/projects', {'name': name}, 201).json


def live(world, name, **query):
    """A live deployment of a project: (project, deployment)."""
    project = project_of(world, name)
    made = world.deploy(project['project_id'], **query).json
    world.build(made['deployment_id'])
    d = world.until(lambda: (r := world.deployment(made['deployment_id']))['status'] in ('live', 'failed') and r, f'{name} is live')
    assert d['status'] == 'live', d
    return project, d


def instances_of(world, deployment_id):
    return world.operator.items(f'/v1/instances?deployment_id={deployment_id}')


def problem(answer, status, code):
    """It is a problem (RFC 9457) with this status and code; its detail."""
    assert answer.status == status, answer
    assert answer.headers['Content-Type'] == 'application/problem+json'
    body = answer.json
    assert body['code'] == code and body['status'] == status and body['detail'], body
    return body['detail']


# ---- the main story ----

def test_story_of_a_deployment(world):
    project = world.user.ok('POST', '/v1/projects', {'name': 'My Shop'}, 201)
    assert project.headers['Location'] == f'/v1/projects/{project.json["project_id"]}'
    assert project.json['slug'] == 'my-shop' and project.json['url'] == 'https://my-shop.localhost:8443'
    project_id = project.json['project_id']

    answer = world.deploy(project_id, drain_seconds=1, port=3000, health_path='/health')
    first = answer.json
    assert answer.headers['Location'] == f'/v1/deployments/{first["deployment_id"]}'
    assert first['status'] == 'queued' and first['project'] == 'my-shop' and first['instances_wanted'] == 3
    context = world.context()
    assert (world.folder / 'blobs/sha256' / (d := hashlib.sha256(context).hexdigest())[:2] / d).read_bytes() == context

    # a write on one replica is seen on the other: the position says from when on
    seen = world.operator.ok('GET', '/v1/events?limit=1000', headers={'Slipform-Position': answer.headers['Slipform-Position']}).json
    assert [e for e in seen['items'] if e['type'] == 'CreateDeployment' and e['payload']['deploymentId'] == first['deployment_id']]

    node, builder, env = world.builder(first['deployment_id'])
    assert env['SLIPFORM_CONTEXT_DIGEST'] == f'sha256:{hashlib.sha256(context).hexdigest()}'
    assert world.deployment(first['deployment_id'])['status'] == 'building'
    image_id, digest = world.build(first['deployment_id'])
    assert world.operator.ok('GET', f'/v1/images/{image_id}').json['config'] == {'cmd': ['/hello'], 'env': ['A=b']}

    d = world.until(lambda: (r := world.deployment(first['deployment_id']))['status'] == 'live' and r, 'the first deployment is live')
    assert d['instances_healthy'] == 3 and d['url'] == 'https://my-shop.localhost:8443'
    instances = instances_of(world, first['deployment_id'])
    assert {i['node'] for i in instances} == {'worker-1', 'worker-2', 'worker-3'}
    for i in instances:
        spec = i['spec']
        assert spec['image_digest'] == digest and spec['image_config']['cmd'] == ['/hello'] and spec['port'] == 3000
        assert spec['health']['path'] == '/health' and spec['owner'] == INSTALLATION and spec['address'] == i['ipv6']
        assert spec['project'] == 'my-shop' and spec['region'] == 'here' and spec['zone'] == i['zone'] and spec['runtime'] == 'qemu'
        assert i['status'] == 'running' and i.get('health') == 'NOMINAL' and i['statistics']['memory_bytes'] > 0
        assert [h['status'] for h in i['history']][-2:] == ['starting', 'running'] and i['because']['rule'] == 'start'

    world.until(lambda: project_id in world.edge.routes, 'the edge has the route')
    route = world.edge.routes[project_id]
    assert route['deployment_id'] == first['deployment_id'] and route['hosts'][0]['host'] == 'my-shop.localhost'
    assert {e['address'] for e in route['endpoints']} == {i['ipv6'] for i in instances}
    assert {e['node_dns'] for e in route['endpoints']} == {f'worker-{n}.node.{INSTALLATION}' for n in (1, 2, 3)}

    certificate = world.edge.client.ok('GET', f'/v1/certificates/{route["hosts"][0]["certificate_id"]}')
    assert certificate.headers['Cache-Control'] == 'no-store'
    chain = world.folder / 'chain.pem'
    chain.write_text(certificate.json['chain_pem'])
    assert 'PRIVATE KEY' in certificate.json['key_pem']
    subprocess.run(['openssl', 'verify', '-CAfile', world.ca.cert, '-verify_hostname', 'my-shop.localhost', chain], check=True, capture_output=True)
    issued = [e for e in world.operator.items('/v1/events') if e['type'] == 'IssueCertificate']
    assert len(issued) == 1, 'once, though the test CA ends within the renewal time'
    key_file = world.folder / 'certificates' / certificate.json['certificate_id'] / 'key.pem'
    assert key_file.stat().st_mode & 0o777 == 0o600

    # a new version: the old one drains only when the edge has confirmed, then goes
    world.edge.confirms = False
    second = world.deploy(project_id, 'FROM scratch\n# 2\n', drain_seconds=1).json
    world.build(second['deployment_id'], b'another root file system')
    world.until(lambda: world.deployment(second['deployment_id'])['status'] == 'live', 'the second deployment is live')
    assert world.edge.step() and world.edge.routes[project_id]['deployment_id'] == second['deployment_id']
    end = time.monotonic() + EDGE_LIVE_S + 0.5  # longer than the drain, and than a silent edge is waited for
    while time.monotonic() < end:
        world.step()
        assert world.deployment(first['deployment_id'])['status'] == 'draining'
        assert len(instances_of(world, first['deployment_id'])) == 3
    assert {i['desired'] for i in instances_of(world, first['deployment_id'])} == {'draining'}
    assert all(i['spec']['desired'] == 'draining' for n in world.nodes for i in n.instances.values() if i.get('deployment_id') == first['deployment_id'])
    world.edge.confirms = True
    world.until(lambda: world.deployment(first['deployment_id'])['status'] == 'stopped', 'the first deployment has stopped')
    assert instances_of(world, first['deployment_id']) == []
    world.until(lambda: all(first['deployment_id'] not in str(n.instances) for n in world.nodes), 'the nodes have been told')

    # roll back: a new deployment of the first one's image, without a build
    answer = world.user.ok('PUT', f'/v1/deployments/{first["deployment_id"]}/status', {'status': 'live'}, 201)
    assert answer.json['image_id'] == image_id and answer.headers['Location'].endswith(answer.json['deployment_id'])
    world.until(lambda: world.deployment(answer.json['deployment_id'])['status'] == 'live', 'the first version is live again')

    world.user.ok('DELETE', f'/v1/projects/{project_id}', status=202)
    world.until(lambda: project_id not in world.edge.routes, 'the route is gone')
    world.until(lambda: not [i for i in world.operator.items('/v1/instances') if i.get('project') == 'my-shop'], 'its instances are gone')
    problem(world.user.get(f'/v1/projects/{project_id}'), 404, 'not-found')


def test_build_that_fails_says_why(world):
    project = project_of(world, 'broken')
    made = world.deploy(project['project_id']).json
    node, builder, env = world.builder(made['deployment_id'])
    line = {'time': '2026-11-22T12:00:00.000001Z', 'instance_id': made.get('builder_instance_id') or env['SLIPFORM_IMAGE_ID'],
            'stream': 'build', 'text': 'no such file: Dockerfile', 'seq': 1}
    builder_id = world.deployment(made['deployment_id'])['builder_instance_id']
    line['instance_id'] = builder_id
    assert node.client.ok('POST', f'/v1/instances/{builder_id}/logs', json.dumps(line) + '\n').json == {'seq': 1}
    builder.ok('PUT', f'/v1/images/{env["SLIPFORM_IMAGE_ID"]}/status', {'status': 'failed', 'cause': "line 3: RUN 'false' ended with 1"})
    d = world.until(lambda: (r := world.deployment(made['deployment_id']))['status'] == 'failed' and r, 'the deployment has failed')
    assert "RUN 'false' ended with 1" in d['cause']
    logs = world.user.get(f'/v1/deployments/{made["deployment_id"]}/logs?source=build').body.decode()
    assert [json.loads(x)['text'] for x in logs.splitlines()] == ['no such file: Dockerfile']
    assert world.user.items(f'/v1/deployments/{made["deployment_id"]}/logs?format=json')[0]['text'] == 'no such file: Dockerfile'
    assert world.user.items(f'/v1/deployments/{made["deployment_id"]}/logs?format=json&source=run') == []


def test_cancel_and_stop(world):
    project = project_of(world, 'cancelled')
    made = world.deploy(project['project_id']).json
    status = f'/v1/deployments/{made["deployment_id"]}/status'
    assert world.user.ok('PUT', status, {'status': 'cancelled'}, 200).json['status'] == 'cancelled'
    problem(world.user.ask('PUT', status, {'status': 'cancelled'}), 409, 'conflict')
    assert 'live' in problem(world.user.ask('PUT', status, {'status': 'flying'}), 400, 'invalid')
    _, d = live(world, 'stopped', drain_seconds=0)
    world.user.ok('PUT', f'/v1/deployments/{d["deployment_id"]}/status', {'status': 'stopped'}, 200)
    world.until(lambda: world.deployment(d['deployment_id'])['status'] == 'stopped', 'it has stopped')


def test_a_failed_instance_is_replaced(world):
    _, d = live(world, 'replaced')
    victim = instances_of(world, d['deployment_id'])[0]
    node = next(n for n in world.nodes if n.name == victim['node'])
    node.trouble[victim['instance_id']] = ('failed', 'EXIT')
    def replaced():
        now = instances_of(world, d['deployment_id'])
        return victim['instance_id'] not in {i['instance_id'] for i in now} and sum(i.get('health') == 'NOMINAL' for i in now) == 3
    world.until(replaced, 'another instance serves in its place')


def test_instances_by_hand(world):
    project, d = live(world, 'by-hand')
    node = world.nodes[1]
    answer = world.operator.ok('POST', '/v1/instances', {'process_id': d['deployment_id'], 'node_id': node.id}, 201)
    made = answer.json
    assert answer.headers['Location'] == f'/v1/instances/{made["instance_id"]}' and made['node'] == node.name
    state = f'/v1/instances/{made["instance_id"]}/state'
    world.until(lambda: world.operator.ok('GET', f'/v1/instances/{made["instance_id"]}').json['status'] == 'running', 'it runs')
    assert world.operator.ok('PUT', state, {'desired': 'stopped'}).json['desired'] == 'stopped'
    world.until(lambda: world.operator.ok('GET', f'/v1/instances/{made["instance_id"]}').json['status'] == 'stopped', 'it is stopped')
    world.operator.ok('DELETE', f'/v1/instances/{made["instance_id"]}', status=202)
    world.until(lambda: world.operator.get(f'/v1/instances/{made["instance_id"]}').status == 404, 'it is gone')


# ---- following ----

def test_long_poll_wakes_on_news(world):
    edge = world.edge
    edge.step()
    project_id = project_of(world, 'poll')['project_id']
    answers = []
    path = f'/v1/routes?cursor={edge.cursor}&confirmed={edge.cursor}&wait=30'
    thread = threading.Thread(target=lambda: answers.append(edge.client.ok('GET', path).json))
    thread.start()
    world.edge = None  # it would poll beside the one that waits
    try:
        live(world, 'poll')
    finally:
        world.edge = edge
    thread.join(60)
    assert [r['route_id'] for r in answers[0]['items']] == [project_id] and not answers[0]['full']


def test_long_poll_ends_without_news(world):
    cursor = world.operator.ok('GET', '/v1/images').json['cursor']
    began = time.monotonic()
    answer = world.operator.ok('GET', f'/v1/images?cursor={cursor}&wait=1').json
    assert 0.9 < time.monotonic() - began < 25  # a second, not the longest there is (30 s)
    assert answer['items'] == [] and answer['removed'] == [] and not answer['full']


def test_a_node_waits_for_what_it_is_asked_for(world):
    """Not for what it has said itself; a person who follows the same list hears of that. And it is told at once."""
    _, d = live(world, 'asked')
    victim = instances_of(world, d['deployment_id'])[0]
    node = next(n for n in world.nodes if n.name == victim['node'])
    world.step()
    node.pull()
    cursor = world.operator.ok('GET', f'/v1/instances?node_id={node.id}').json['cursor']
    assert node.report(victim['instance_id'], 'running', 'ERROR', 'slow').status == 200
    answer = node.pull(wait=1)
    assert answer['items'] == [] and answer['removed'] == [] and not answer['full']
    told = world.operator.ok('GET', f'/v1/instances?node_id={node.id}&cursor={cursor}&wait=5').json
    assert [(i['instance_id'], i['health']) for i in told['items']] == [(victim['instance_id'], 'ERROR')]
    assert node.report(victim['instance_id'], 'running', 'NOMINAL').status == 200
    answers = []
    thread = threading.Thread(target=lambda: answers.append((node.pull(wait=30), time.monotonic())))
    thread.start()
    asked = time.monotonic()
    world.operator.ok('DELETE', f'/v1/instances/{victim["instance_id"]}', status=202)
    thread.join(60)
    assert victim['instance_id'] in [i['instance_id'] for i in answers[0][0]['items']]  # and perhaps what takes its place
    assert answers[0][1] - asked < 25, 'told when there is something, not when the wait is over'


def test_status_filter_removes_what_no_longer_matches(world):
    _, d = live(world, 'filtered')
    path = f'/v1/instances?deployment_id={d["deployment_id"]}&status=running'
    first = world.operator.ok('GET', path).json
    assert len(first['items']) == 3
    victim = first['items'][0]
    node = next(n for n in world.nodes if n.name == victim['node'])
    node.report(victim['instance_id'], 'starting')
    news = world.operator.ok('GET', f'{path}&cursor={first["cursor"]}').json
    assert news['removed'] == [victim['instance_id']] and news['items'] == []


def test_pages(world):
    for i in range(3):
        project_of(world, f'page {i}')
    names, after = [], ''
    while True:
        answer = world.user.ok('GET', f'/v1/projects?limit=2{after}').json
        assert len(answer['items']) <= 2
        names += [p['name'] for p in answer['items']]
        if 'next' not in answer:
            break
        after = f'&after={answer["next"]}'
    assert names == [p['name'] for p in world.user.items('/v1/projects')] and len(names) >= 3


def test_a_replica_that_is_behind_says_so(world):
    cursor = world.operator.ok('GET', '/v1/images').json['cursor']
    position = bytearray(base64.urlsafe_b64decode(cursor + '=' * (-len(cursor) % 4)))
    position[-2] += 8  # two thousand events later
    future = base64.urlsafe_b64encode(position).decode().rstrip('=')
    began = time.monotonic()
    answer = world.operator.get(f'/v1/images?cursor={future}')
    assert problem(answer, 503, 'behind') and time.monotonic() - began > 1.5 and answer.headers['Retry-After']
    problem(world.operator.get('/v1/images', headers={'Slipform-Position': future}), 503, 'behind')
    problem(world.operator.get('/v1/images?cursor=nonsense'), 400, 'invalid')


def test_events_stream(world):
    page = world.operator.ok('GET', '/v1/events?after=2&limit=3').json
    assert [e['seq'] for e in page['items']] == [3, 4, 5] and page['next'] == '5'
    assert page['items'][0]['log'] == 'platform'
    assert set(page['items'][0]) == {'log', 'seq', 'time', 'type', 'id', 'payload'}
    end = world.operator.ok('GET', '/v1/events?limit=1').json['end']
    connection, response = world.operator.open('GET', '/v1/events', headers={'Accept': 'text/event-stream', 'Last-Event-ID': str(end - 1)})
    assert response.status == 200 and response.headers['Content-Type'] == 'text/event-stream'
    assert response.readline() == f'id: {end}\n'.encode()
    assert json.loads(response.readline().removeprefix(b'data: '))['seq'] == end
    assert response.readline() == b'\n'
    world.operator.ok('POST', '/v1/regions', {'name': f'sse-{uuid.uuid4().hex[:8]}'}, 201)
    assert response.readline() == f'id: {end + 1}\n'.encode()
    assert json.loads(response.readline().removeprefix(b'data: '))['type'] == 'CreateRegion'
    connection.close()
    problem(world.operator.get('/v1/events?log=other'), 404, 'not-found')
    problem(world.operator.get(f'/v1/events?after={end + 1000}'), 400, 'invalid')


def test_logs_follow(world):
    _, d = live(world, 'talks')
    instances = instances_of(world, d['deployment_id'])
    def say(instance, seq, text):
        node = next(n for n in world.nodes if n.name == instance['node'])
        line = {'time': f'2026-11-22T12:00:00.{seq:06}Z', 'instance_id': instance['instance_id'], 'stream': 'stdout', 'text': text, 'seq': seq}
        return node.client.ok('POST', f'/v1/instances/{instance["instance_id"]}/logs', json.dumps(line) + '\n').json['seq']
    assert say(instances[0], 2, 'second') == 2 and say(instances[1], 1, 'first') == 1
    assert say(instances[0], 1, 'repeated') == 2, 'a repeated one is ignored'
    connection, response = world.user.open('GET', f'/v1/deployments/{d["deployment_id"]}/logs?follow=true&source=run')
    assert [json.loads(response.readline())['text'] for _ in range(2)] == ['first', 'second']
    say(instances[2], 3, 'third')
    assert json.loads(response.readline())['text'] == 'third'
    connection.close()


# ---- images ----

def test_image_download(world):
    _, d = live(world, 'image')
    path = f'/v1/images/{d["image_id"]}/download'
    node = world.nodes[1].client
    whole = node.ok('GET', path)
    digest = world.operator.ok('GET', f'/v1/images/{d["image_id"]}').json['digest']
    assert f'sha256:{hashlib.sha256(whole.body).hexdigest()}' == digest and whole.headers['ETag'] == f'"{digest}"'
    part = node.get(path, headers={'Range': 'bytes=2-5'})
    assert part.status == 206 and part.body == whole.body[2:6] and part.headers['Content-Range'] == f'bytes 2-5/{len(whole.body)}'
    assert node.get(path, headers={'If-None-Match': whole.headers['ETag']}).status == 304
    problem(node.get(f'/v1/images/{uuid.uuid4()}/download'), 404, 'not-found')


# ---- who may what ----

def test_wrong_identities(world):
    _, d = live(world, 'guarded')
    instance = instances_of(world, d['deployment_id'])[0]
    other = next(n for n in world.nodes if n.name not in (instance['node'], 'operator-1'))
    own = next(n for n in world.nodes if n.name == instance['node'])
    port = world.management.port
    path = f'/v1/instances/{instance["instance_id"]}'

    nobody = Client(world, port)
    answer = nobody.get('/v1/instances')
    problem(answer, 401, 'unauthenticated')
    assert answer.headers['WWW-Authenticate'].startswith('Bearer')
    assert nobody.get('/healthz').status == 200 and nobody.get('/metrics').status == 401
    problem(Client(world, port, token='slip_' + 'B' * 43).get('/v1/instances'), 401, 'unauthenticated')
    problem(Client(world, port, world.ca.issue('node', 'worker-1', 'other-0')).get('/v1/instances'), 401, 'unauthenticated')

    problem(other.client.ask('PUT', f'{path}/state', {'observed': 'failed', 'boot_id': 'x', 'report_seq': 1}), 403, 'denied')
    problem(other.client.get(f'{path}/secrets'), 403, 'denied')
    problem(other.client.ask('POST', f'{path}/logs', '{}\n'), 403, 'denied')
    problem(other.client.get(f'/v1/instances?node_id={own.id}'), 403, 'denied')
    problem(other.client.ask('PUT', f'/v1/nodes/{own.id}/status', {'boot_id': 'x', 'report_seq': 1, 'status': 'ready'}), 403, 'denied')
    problem(other.client.ask('POST', '/v1/nodes', own.join_body), 403, 'denied')
    problem(own.client.ask('POST', '/v1/nodes', {**own.join_body, 'labels': ['control']}), 403, 'denied')
    problem(own.client.ask('PUT', f'{path}/state', {'desired': 'stopped'}), 403, 'denied')
    problem(own.client.get('/v1/events'), 403, 'denied')
    problem(world.operator.get(f'{path}/secrets'), 403, 'denied')
    problem(world.operator.ask('PUT', f'{path}/state', {'observed': 'failed'}), 403, 'denied')
    problem(world.edge.client.get('/v1/nodes'), 403, 'denied')
    problem(world.operator.get(f'/v1/certificates/{uuid.uuid4()}'), 403, 'denied')
    problem(world.edge.client.get(f'/v1/certificates/{uuid.uuid4()}'), 404, 'not-found')
    stranger = Client(world, port, world.ca.issue('builder', str(uuid.uuid4())))
    problem(stranger.ask('PUT', f'/v1/images/{d["image_id"]}/status', {'status': 'failed'}), 403, 'denied')
    problem(Client(world, world.public.port, own.cert).get('/v1/projects'), 403, 'denied')


def test_certificates_that_are_refused(world, tmp_path):
    """Each with the word that says what is wrong with it, before any request; the right one goes on."""
    node = world.nodes[0]
    foreign = Authority(tmp_path / 'foreign')
    cases = [('CERTIFICATE_EXPIRED', world.ca.issue('node', node.name, days=-1)), ('UNKNOWN_CA', foreign.issue('node', node.name)),
             ('UNSUPPORTED_CERTIFICATE', world.ca.issue('node', node.name, purpose='serverAuth'))]
    for word, cert in cases:
        for program in (world.management, world.public):
            with pytest.raises(ssl.SSLError) as refused, socket.create_connection(('127.0.0.1', program.port), timeout=20) as raw, \
                    Client(world, program.port, cert).tls.wrap_socket(raw, server_hostname='localhost') as connection:
                connection.recv(1)  # of TLS 1.3 the answer to a certificate comes after the handshake
            assert word in str(refused.value).upper().replace(' ', '_'), (word, refused.value)
    node.heartbeat()


def test_a_token_can_be_taken_back(world):
    tokens = world.folder / 'tokens'
    before = tokens.read_text()
    extra = 'slip_' + 'C' * 43
    user = Client(world, world.public.port, token=extra)
    assert user.get('/v1/projects').status == 401
    tokens.write_text(before + hashlib.sha256(extra.encode()).hexdigest() + '\n')
    assert user.get('/v1/projects').status == 200
    tokens.write_text(before)
    assert user.get('/v1/projects').status == 401


# ---- wrong inputs ----

def test_errors_say_what_to_do(world):
    user, operator = world.user, world.operator
    assert 'name' in problem(user.ask('POST', '/v1/projects', {}), 400, 'invalid')
    problem(user.ask('POST', '/v1/projects', '{"name":', headers={'Content-Type': 'application/json'}), 400, 'invalid')
    problem(user.ask('POST', '/v1/projects', {'name': '***'}), 400, 'invalid')
    project = project_of(world, 'taken')
    problem(user.ask('POST', '/v1/projects', {'name': 'taken'}), 409, 'conflict')
    problem(user.ask('POST', '/v1/projects', {'name': 'x' * 70000}), 413, 'limit')
    problem(user.get(f'/v1/deployments/{uuid.uuid4()}'), 404, 'not-found')
    problem(user.get('/v1/deployments/not-an-id'), 404, 'not-found')
    problem(user.get('/v1/nothing'), 404, 'not-found')
    assert user.ask('PATCH', '/v1/projects').status == 405
    assert 'colour' in problem(user.get('/v1/projects?colour=red'), 400, 'invalid')
    problem(user.get('/v1/projects?wait=31'), 400, 'invalid')
    problem(operator.get('/v1/instances?status=flying'), 400, 'invalid')
    tar = {'Content-Type': 'application/x-tar'}
    problem(user.ask('POST', '/v1/deployments', b'x', headers=tar), 400, 'invalid')
    problem(user.ask('POST', f'/v1/deployments?project_id={uuid.uuid4()}', b'x', headers=tar), 404, 'not-found')
    problem(user.ask('POST', f'/v1/deployments?project_id={project["project_id"]}&instances=many', b'x', headers=tar), 400, 'invalid')
    assert 'tar' in problem(user.ask('POST', '/v1/deployments', {'project_id': project['project_id'], 'context_digest': 'sha256:' + 'a' * 64}), 400, 'invalid')
    problem(user.ask('POST', '/v1/deployments', {'project_id': project['project_id'], 'pad': 'x' * 70000}), 413, 'limit')
    connection = user.connection()  # more than a context may have: refused before it is sent
    connection.putrequest('POST', f'/v1/deployments?project_id={project["project_id"]}')
    for name, value in {'Authorization': f'Bearer {user.token}', 'Content-Type': 'application/x-tar', 'Content-Length': str(600 << 20)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    for method, path in (('GET', '/v1/auth/github'), ('POST', '/v1/webhook/github')):
        problem(user.ask(method, path, {}), 501, 'not-in-this-version')
    problem(operator.ask('POST', '/v1/zones', {'region': 'nowhere', 'name': 'a'}), 404, 'not-found')


def test_idempotency_key(world):
    headers = {'Idempotency-Key': uuid.uuid4().hex}
    first = world.user.ok('POST', '/v1/projects', {'name': 'once'}, 201, headers=headers)
    again = world.user.ok('POST', '/v1/projects', {'name': 'once'}, 201, headers=headers)
    assert again.json == first.json and again.headers['Location'] == first.headers['Location']
    assert again.headers['Slipform-Position'] == first.headers['Slipform-Position']
    problem(world.user.ask('POST', '/v1/projects', {'name': 'twice'}, headers=headers), 422, 'conflict')


def test_openapi_is_what_is_served(world):
    for client, path, absent in ((world.operator, '/v1/instances', '/v1/projects'), (world.user, '/v1/projects', '/v1/instances')):
        doc = client.ok('GET', '/openapi.json').json
        assert doc['openapi'] == '3.1.0' and path in doc['paths'] and absent not in doc['paths']
        names = set(doc['components']['schemas'])
        assert all(r.split('/')[-1] in names for r in _references(doc))
        for pattern, methods in doc['paths'].items():
            for method in methods:
                answer = client.ask(method.upper(), pattern.replace('{id}', str(uuid.uuid4())), headers={'Accept': 'application/json'})
                assert answer.status not in (405, 500), (method, pattern, answer)


@pytest.mark.parametrize('face', ['management-api', 'public-api'])
def test_openapi_in_the_docs(world, face):
    """docs/openapi is what the programs say; SLIPFORM_WRITE_OPENAPI=1 writes it."""
    served = (world.operator if face == 'management-api' else world.user).ok('GET', '/openapi.json').json
    path = ROOT / 'docs/openapi' / f'{face}.json'
    if os.environ.get('SLIPFORM_WRITE_OPENAPI'):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(served, indent=1) + '\n')
    assert json.loads(path.read_text()) == served, 'run this test with SLIPFORM_WRITE_OPENAPI=1'


def _references(node):
    if isinstance(node, dict):
        if '$ref' in node:
            yield node['$ref']
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _references(item)


def test_metrics(world):
    text = world.operator.ok('GET', '/metrics').body.decode()
    position = world.operator.ok('GET', '/v1/events?limit=1').json['end']
    assert f'slipform_log_position {position}' in text and 'slipform_live 1' in text
    assert 'slipform_http_requests_total{' in text and 'route="/v1/instances/{id}/state"' in text


def test_a_big_context(world):
    """Streamed while it is hashed; kept whole."""
    project = project_of(world, 'big')
    body = os.urandom(1 << 20) * 20
    query = f'/v1/deployments?project_id={project["project_id"]}'
    d = world.user.ok('POST', query, body, 201, headers={'Content-Type': 'application/x-tar'}).json
    digest = hashlib.sha256(body).hexdigest()
    assert (world.folder / 'blobs/sha256' / digest[:2] / digest).stat().st_size == len(body)
    again = {'project_id': project['project_id'], 'context_digest': f'sha256:{digest}'}
    world.user.ok('POST', '/v1/deployments', again, 201)  # by digest: nothing is sent twice
    world.until(lambda: world.deployment(d['deployment_id'])['status'] == 'cancelled', 'the newer one takes its place')
    world.user.ok('DELETE', f'/v1/projects/{project["project_id"]}', status=202)


# ---- liveness ----

def test_a_silent_node_is_lost_and_comes_back(world):
    _, d = live(world, 'resilient')
    silent = world.nodes[3]
    silent.hears_nothing = True
    try:
        world.until(lambda: _node(world, silent)['status'] == 'lost', 'the silent node is lost')
        def moved():
            now = instances_of(world, d['deployment_id'])
            return sum(i.get('health') == 'NOMINAL' and i['node'] != silent.name for i in now) == 3
        world.until(moved, 'its instances are replaced elsewhere')
    finally:
        silent.hears_nothing = False
    world.until(lambda: _node(world, silent)['status'] == 'ready', 'it is trusted again')


def test_a_majority_of_those_who_are_there_loses_a_node(world):
    """One of two replicas hears nothing of a node: no majority. Then the other dies: its lease runs out, and one of one is enough."""
    node = world.nodes[2]
    second = Program(world, 'second', ['management-api', 'watchdog'], [])
    second.start()
    lease = world.folder / 'log/leases/second'
    events = lambda kind: [e['payload'] for e in world.operator.ok('GET', '/v1/events').json['items'] if e['type'] == kind]
    lost = lambda: [e for e in events('NodeStatusChange') if e['nodeId'] == node.id and e['status'] == 'lost']
    before = len(lost())
    try:
        world.others = [second]
        world.until(lambda: lease.exists() and 'abstains' not in json.loads(lease.read_text()), 'the second replica votes')
        late = Node(world, 'late', 'a', ['control'], 8)
        late.join()  # the second replica has it from the log, and no report of it: not for as long as a node may be silent
        end = time.monotonic() + 3.5  # three looks
        world.until(lambda: time.monotonic() > end, 'it looks')
        assert not [e for e in events('SuspectNode') if e['nodeId'] == late.id], 'it cannot have been heard yet'
        world.until(lambda: any(e['nodeId'] == late.id for e in events('SuspectNode')), 'who goes on being silent is suspected')
        node.deaf_to = world.management
        world.until(lambda: any(e['nodeId'] == node.id and e['replica'] == 'management' for e in events('SuspectNode')), 'the first replica suspects it')
        world.operator.ok('POST', '/v1/zones', {'region': 'here', 'name': 'later'}, 201)  # the planner has looked since
        assert len(lost()) == before and _node(world, node)['status'] == 'ready'
        world.others = []
        second.kill()
        world.until(lambda: len(lost()) > before, 'the vote of the one who is left is a majority')
        assert lost()[-1]['cause'] == '1 of 1 replicas hear nothing of it' and lost()[-1]['because']['replicas'] == 1
    finally:
        world.others, node.deaf_to = [], None
        world.operator.ask('DELETE', f'/v1/nodes/{late.id}')
        if second.process.poll() is None:
            second.kill()
    world.until(lambda: _node(world, node)['status'] == 'ready', 'it is trusted again')


def _node(world, node):
    return world.operator.ok('GET', f'/v1/nodes/{node.id}').json


# ---- what explains itself, and what an operator does to nodes, projects and images ----

def test_a_node_drains(world):
    _, d = live(world, 'movable', drain_seconds=1)
    node = next(n for n in world.nodes if n.name == instances_of(world, d['deployment_id'])[0]['node'])
    healthy = lambda: [i for i in instances_of(world, d['deployment_id']) if i.get('health') == 'NOMINAL' and i['desired'] == 'running']
    assert problem(world.operator.ask('DELETE', f'/v1/nodes/{node.id}'), 409, 'conflict').endswith('drain it first')
    answer = world.operator.ok('POST', f'/v1/nodes/{node.id}/drain', status=202).json
    assert answer['status'] == 'draining' and 'nothing new is placed there' in answer['explanation']['why'], answer
    fewest = []
    def drained():
        fewest.append(len(healthy()))
        return not [i for i in world.operator.items(f'/v1/instances?node_id={node.id}') if i.get('deployment_id')]
    world.until(drained, 'what it ran is elsewhere')
    assert min(fewest) >= 3, f'fewer than wanted: {fewest}'
    assert 'it has drained' in _node(world, node)['explanation']['change']
    assert world.operator.ok('DELETE', f'/v1/nodes/{node.id}/drain', status=202).json['status'] == 'ready'
    world.until(lambda: _node(world, node)['status'] == 'ready', 'it is taken back')
    world.operator.ok('POST', f'/v1/nodes/{node.id}/drain', status=202)
    world.until(drained, 'nothing is left on it')
    assert world.operator.ok('DELETE', f'/v1/nodes/{node.id}', status=202).json['status'] == 'gone'
    assert node.client.ask('PUT', f'/v1/nodes/{node.id}/status', {'boot_id': node.boot, 'report_seq': node.next_seq(), 'status': 'ready'}).status == 409
    node.join()
    world.until(lambda: _node(world, node)['status'] == 'ready', 'it is back')


@pytest.mark.parametrize('way', ['drain', 'delete', 'stop', 'scale'])
def test_an_instance_is_withdrawn_before_it_is_told_to_stop(world, way):
    """Whatever makes it go: its node is told only when the edge has confirmed routes without it."""
    project, d = live(world, f'leaving-{way}', memory_bytes=256 << 20)
    path = f'/v1/projects/{project["project_id"]}'
    if way == 'scale':
        world.user.ok('PATCH', path, {'instances': 4})
        world.until(lambda: world.deployment(d['deployment_id'])['instances_healthy'] == 4, 'four are healthy')
    one = instances_of(world, d['deployment_id'])[0]
    node = next(n for n in world.nodes if n.name == one['node'])
    asked = {}  # what each agent is asked for, of instances of this deployment
    def look():
        for n in world.nodes:
            asked.update({i: item['spec']['desired'] for i, item in n.instances.items()})
        return [i for i in instances_of(world, d['deployment_id']) if asked.get(i['instance_id']) == 'draining']
    try:
        if way == 'drain':
            world.operator.ok('POST', f'/v1/nodes/{node.id}/drain', status=202)
            leaves = world.until(look, 'one leaves')
            stay = [i for i in instances_of(world, d['deployment_id']) if i['desired'] == 'running']
            assert [i.get('health') for i in stay] == ['NOMINAL'] * 3, 'its heir is healthy'
            world.edge.confirms = False
        else:
            world.edge.confirms = False
            if way == 'delete':
                world.operator.ok('DELETE', f'/v1/instances/{one["instance_id"]}', status=202)
            elif way == 'stop':
                world.operator.ok('PUT', f'/v1/instances/{one["instance_id"]}/state', {'desired': 'stopped'})
            else:
                world.user.ok('PATCH', path, {'instances': 3})
            leaves = world.until(look, 'one leaves')
            end = time.monotonic() + EDGE_LIVE_S + 0.5  # longer than an edge may be silent: it polls, and does not confirm
            world.until(lambda: look() and time.monotonic() > end, 'it goes on all the time')
            assert asked[leaves[0]['instance_id']] == 'draining'
            route = next(r for r in world.edge.routes.values() if r['deployment_id'] == d['deployment_id'])
            assert leaves[0]['instance_id'] not in {e['instance_id'] for e in route['endpoints'] if e['healthy']}
            said = world.operator.ok('GET', f'/v1/instances/{leaves[0]["instance_id"]}').json['explanation']['change']
            assert 'when no live edge leads to it any more' in said, said
        world.edge.confirms = True
        world.until(lambda: not look(), 'its node is told')
        events = [e['payload'] for e in world.operator.events() if e['type'].endswith('InstanceStatusChange')
                  and e['payload']['instanceId'] == leaves[0]['instance_id'] and 'desired' in e['payload']]
        assert [e.get('withdraw', False) for e in events[-2:]] == [True, False], events
        assert events[-1]['because']['rule'] == 'every live edge has withdrawn it'
    finally:
        world.edge.confirms = True
        if way == 'drain':
            world.operator.ok('DELETE', f'/v1/nodes/{node.id}/drain', status=202)
            world.until(lambda: _node(world, node)['status'] == 'ready', 'it is taken back')
        world.user.ok('DELETE', path, status=202)


def test_answers_explain_themselves(world):
    project, d = live(world, 'explained')
    one = instances_of(world, d['deployment_id'])[0]
    said = world.operator.ok('GET', f'/v1/instances/{one["instance_id"]}').json['explanation']
    assert said['where'].startswith(f"on node '{one['node']}' in zone ") and 'it needs 1 vcpu and 256 MiB' in said['where'], said
    assert world.deployment(d['deployment_id'])['explanation']['state'].startswith('live since')
    assert 'explanation' not in one  # lists stay lean
    big = world.deploy(project['project_id'], 'FROM scratch\n# big\n').json
    world.user.ok('PUT', f'/v1/deployments/{big["deployment_id"]}/status', {'status': 'cancelled'})
    said = world.deployment(big['deployment_id'])['explanation']
    assert said['why'] == 'cancelled by a person' and 'deploy again' in said['change'], said


def test_a_project_is_updated(world):
    project = project_of(world, 'settings')
    path = f'/v1/projects/{project["project_id"]}'
    now = world.user.ok('PATCH', path, {'instances': 4, 'port': 3000, 'branch': 'main'}, 200).json
    assert (now['instances'], now['port'], now['branch'], now['slug']) == (4, 3000, 'main', 'settings')
    made = world.deploy(project['project_id']).json
    assert made['instances_wanted'] == 4
    assert 'port' not in world.user.ok('PATCH', path, {'cleared': ['port']}, 200).json
    assert "'slug' has no default" in problem(world.user.ask('PATCH', path, {'cleared': ['slug']}), 400, 'invalid')
    assert problem(world.user.ask('PATCH', path, {'port': 70000}), 400, 'invalid')
    world.user.ok('PUT', f'/v1/deployments/{made["deployment_id"]}/status', {'status': 'cancelled'})


def test_a_project_is_scaled(world):
    project, d = live(world, 'elastic', memory_bytes=1 << 30)
    path = f'/v1/projects/{project["project_id"]}'
    read = world.user.ok('GET', path)
    etag = read.headers['ETag']
    assert read.json['instances_wanted'] == 3 and etag == world.user.get('/v1/projects/elastic').headers['ETag']
    now = world.user.ok('PATCH', path, {'instances': 5}, 200, headers={'If-Match': etag})
    assert now.json['instances_wanted'] == now.json['instances'] == 5 and now.headers['ETag'] != etag
    world.until(lambda: world.deployment(d['deployment_id'])['instances_healthy'] == 5, 'five are healthy')
    assert 'deployed with 3 and has been scaled' in world.deployment(d['deployment_id'])['explanation']['state']
    assert world.deployment(d['deployment_id'])['deployment_id'] == d['deployment_id'], 'nothing was deployed anew'
    # who read before that is told so, and nothing happens
    problem(world.user.ask('PATCH', path, {'instances': 4}, headers={'If-Match': etag}), 412, 'precondition-failed')
    # the platform's minimum, its maximum, and what there is room for: all of the request is refused
    assert "'instances' must be 3 to" in problem(world.user.ask('PATCH', path, {'instances': 2, 'port': 3001}), 400, 'invalid')
    said = problem(world.user.ask('PATCH', path, {'instances': 60, 'port': 3001}), 409, 'conflict')
    assert 'no room for 60 instances' in said and 'needs room for 55 x (1 vcpus, 1024 MiB)' in said and 'free on 3' in said, said
    now = world.user.ok('GET', path).json
    assert now['instances_wanted'] == now['instances'] == 5 and 'port' not in now
    # bounds are kept, and go
    rule = {'metric': 'cpu', 'min': 3, 'max': 5, 'target_percent': 70, 'cool_down_seconds': 60}
    assert world.user.ok('PATCH', path, {'scaling': rule}).json['scaling'] == rule
    assert 'says 3 to 5' in problem(world.user.ask('PATCH', path, {'instances': 6}), 409, 'conflict')
    problem(world.user.ask('PATCH', path, {'instances': 4, 'scaling': {'max': 0}}), 400, 'invalid')
    problem(world.user.ask('PATCH', path, {'scaling': {**rule, 'metric': 'mood'}}), 400, 'invalid')
    assert 'scaling' not in world.user.ok('PATCH', path, {'scaling': {'max': 0}}).json
    world.user.ok('PATCH', path, {'instances': 3})
    world.until(lambda: len(instances_of(world, d['deployment_id'])) == 3, 'two went')
    scaled = [e['payload']['instancesWanted'] for e in world.operator.events() if e['type'] == 'ScaleProcess'
              and e['payload']['processId'] == d['deployment_id']]
    assert scaled == [5, 3]
    problem(world.user.ask('PATCH', f'/v1/projects/{uuid.uuid4()}', {'instances': 3}), 404, 'not-found')
    world.user.ok('DELETE', path, status=202)


def test_a_domain_of_somebodys_own(world):
    project, d = live(world, 'with-domain')
    other = project_of(world, 'without-domain')
    path = f'/v1/projects/{project["project_id"]}/domains'
    made = world.user.ok('POST', path, {'host': 'shop.example.org'}, 201, headers={'Idempotency-Key': 'one'})
    domain = made.json
    assert made.headers['Location'] == f'{path}/shop.example.org' and domain['status'] == 'pending'
    assert domain['txt_name'] == '_slipform.shop.example.org' and domain['txt_value'].startswith('slipform-verify=')
    assert domain['target'] == 'with-domain.localhost'
    assert world.user.ok('POST', path, {'host': 'shop.example.org'}, 200).json == domain
    assert world.user.ok('POST', path, {'host': 'shop.example.org'}, 201, headers={'Idempotency-Key': 'one'}).headers['Idempotency-Replayed']
    # nobody else gets it, or sees it; names of the platform and no names are refused
    elsewhere = f'/v1/projects/{other["project_id"]}/domains'
    problem(world.user.ask('POST', elsewhere, {'host': 'shop.example.org'}), 409, 'conflict')
    problem(world.user.get(f'{elsewhere}/shop.example.org'), 404, 'not-found')
    problem(world.user.ask('PUT', f'{elsewhere}/shop.example.org/verified'), 404, 'not-found')
    problem(world.user.ask('DELETE', f'{elsewhere}/shop.example.org'), 404, 'not-found')
    problem(world.user.ask('POST', path, {'host': 'without-domain.localhost'}), 403, 'denied')
    for host in ('Shop.example.org', 'example', 'a..b', '*.example.org', '-a.b', 'a' * 64 + '.org', 'a.' * 130 + 'org', 'x/../y.org', ''):
        problem(world.user.ask('POST', path, {'host': host}), 400, 'invalid')
    # it is not served before it is proved
    hosts = lambda: {h['host']: h.get('certificate_id') for h in world.edge.routes[project['project_id']]['hosts']}
    world.step()
    assert list(hosts()) == ['with-domain.localhost']
    cursor = world.user.ok('GET', path).json['cursor']
    world.user.ok('PUT', f'{path}/shop.example.org/verified', status=200)
    world.until(lambda: world.user.ok('GET', f'{path}/shop.example.org').json['status'] == 'serving', 'it serves')
    assert [i['host'] for i in world.user.items(f'{path}?cursor={cursor}')] == ['shop.example.org']
    assert world.user.ok('GET', f'{path}/shop.example.org').json['url'] == 'https://shop.example.org:8443'
    world.step()
    certificate = world.edge.client.ok('GET', f'/v1/certificates/{hosts()["shop.example.org"]}').json
    chain = world.folder / 'domain.pem'
    chain.write_text(certificate['chain_pem'])
    subprocess.run(['openssl', 'verify', '-CAfile', world.ca.cert, '-verify_hostname', 'shop.example.org', chain], check=True, capture_output=True)
    cursor = world.user.ok('GET', path).json['cursor']
    world.user.ok('DELETE', f'{path}/shop.example.org', status=202)
    assert world.user.ok('GET', f'{path}?cursor={cursor}').json['removed'] == [domain['domain_id']]
    world.until(lambda: list(hosts()) == ['with-domain.localhost'], 'the edge has forgotten it')
    assert world.user.ok('POST', elsewhere, {'host': 'shop.example.org'}, 201).json['txt_value'] != domain['txt_value']
    for p in (project, other):
        world.user.ok('DELETE', f'/v1/projects/{p["project_id"]}', status=202)


@contextlib.contextmanager
def dns(world, *records):
    """A DNS server on loopback, where the control plane asks; every other name does not exist."""
    server = subprocess.Popen(['/usr/sbin/dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--bind-interfaces',
                               '--listen-address=127.0.0.1', f'--port={world.dns_port}', '--pid-file=', '--user=root', '--address=/#/',
                               '--log-facility=-', *(f'--txt-record={name},{text}' for name, text in records)], stderr=subprocess.DEVNULL)
    try:
        yield server
    finally:
        server.terminate()
        server.wait(timeout=60)


def test_a_domain_is_proved_by_its_txt_record(world):
    project, _ = live(world, 'proved')
    path = f'/v1/projects/{project["project_id"]}/domains'
    right, wrong = (world.user.ok('POST', path, {'host': host}, 201).json for host in ('right.example.net', 'wrong.example.net'))
    domain = lambda d: world.user.ok('GET', f'{path}/{d["host"]}').json
    world.user.ok('POST', path, {'host': 'none.example.net'}, 201)
    # nobody answers: that says nothing about a domain
    log = world.folder / 'management.log'
    world.until(lambda: 'the resolver does not answer' in log.read_text(), 'it gave up asking')
    assert {d['status'] for d in world.user.items(path)} == {'pending'}
    with dns(world, (right['txt_name'], 'something else'), (right['txt_name'], right['txt_value']), (wrong['txt_name'], right['txt_value'])):
        world.until(lambda: domain(right)['status'] == 'serving', 'its record proves it')
        world.until(lambda: domain(wrong)['status'] == 'failed', 'the other one says something else')
        assert domain(wrong)['cause'] == 'its TXT record says something else'
        world.until(lambda: domain({'host': 'none.example.net'}).get('cause') == 'it has no TXT record yet', 'the third has none')
    with dns(world, (wrong['txt_name'], wrong['txt_value'])):  # mended: it is looked up again
        world.until(lambda: domain(wrong)['status'] == 'serving', 'the mended record proves it')
    said = [e['payload'] for e in world.operator.events() if e['type'] == 'VerifyDomain' and e['payload']['domainId'] == wrong['domain_id']]
    assert [e['status'] for e in said] == ['failed', 'verified', 'serving'], 'a cause is told once'
    assert said[1]['because']['rule'] == 'its records were looked up'
    world.user.ok('DELETE', f'/v1/projects/{project["project_id"]}', status=202)


def test_secrets_of_a_project(world):
    project = project_of(world, 'discreet')
    other = project_of(world, 'curious')
    path = f'/v1/projects/{project["project_id"]}/secrets'
    value, later = f's3cret-{uuid.uuid4()}', f's3cret-{uuid.uuid4()}'
    made = world.user.ok('PUT', f'{path}/API_TOKEN', {'value': value}, 201).json
    assert made['name'] == 'API_TOKEN' and 'value' not in made and not made.get('is_live')
    world.user.ok('PUT', f'{path}/OTHER', {'value': 'x' * 16384}, 201)
    # bounds, and names that are the platform's
    for body in ({'value': ''}, {'value': 'x' * 16385}, {'value': 7}, {}, {'value': 'a\0b'}):
        said = problem(world.user.ask('PUT', f'{path}/API_TOKEN', body), 400, 'invalid')
        assert 'xxxx' not in said
    problem(world.user.ask('PUT', f'{path}/1X', {'value': 'x'}), 400, 'invalid')
    problem(world.user.ask('PUT', f'{path}/A%3DB', {'value': 'x'}), 400, 'invalid')
    problem(world.user.ask('PUT', f'{path}/SLIPFORM_ZONE', {'value': 'x'}), 403, 'denied')
    problem(world.user.ask('PUT', f'/v1/projects/{uuid.uuid4()}/secrets/X', {'value': 'x'}), 404, 'not-found')
    # a deployment gets what was set when it began to run; only the node that runs an instance reads it
    _, d = live(world, 'discreet')
    rows = instances_of(world, d['deployment_id'])
    assert all(r['spec']['secret_names'] == ['API_TOKEN', 'OTHER'] for r in rows)
    row = rows[0]
    home = next(n for n in world.nodes if n.name == row['node'])
    read = lambda: home.client.ok('GET', f'/v1/instances/{row["instance_id"]}/secrets')
    answer = read()
    assert answer.headers['Cache-Control'] == 'no-store' and answer.json['env'] == [f'API_TOKEN={value}', 'OTHER=' + 'x' * 16384]
    stranger = next(n for n in world.nodes if n.name not in (row['node'], 'operator-1'))
    problem(stranger.client.get(f'/v1/instances/{row["instance_id"]}/secrets'), 403, 'denied')
    problem(world.operator.get(f'/v1/instances/{row["instance_id"]}/secrets'), 403, 'denied')
    assert [(s['name'], s['is_live']) for s in world.user.items(path)] == [('API_TOKEN', True), ('OTHER', True)]
    assert world.user.items(f'/v1/projects/{other["project_id"]}/secrets') == []
    # what comes later is for the next deployment
    world.user.ok('PUT', f'{path}/API_TOKEN', {'value': later}, 200)
    world.user.ok('PUT', f'{path}/NEW', {'value': 'new'}, 201)
    assert not any(e.startswith('NEW=') for e in read().json['env'])
    cursor = world.user.ok('GET', path).json['cursor']
    gone = next(s['secret_id'] for s in world.user.items(path) if s['name'] == 'OTHER')
    world.user.ok('DELETE', f'{path}/OTHER', status=202)
    problem(world.user.ask('DELETE', f'{path}/OTHER'), 404, 'not-found')
    assert world.user.ok('GET', f'{path}?cursor={cursor}').json['removed'] == [gone]
    assert [e.split('=')[0] for e in read().json['env']] == ['API_TOKEN']
    assert [(s['name'], bool(s.get('is_live'))) for s in world.user.items(path)] == [('API_TOKEN', False), ('NEW', False)]
    # neither value stands anywhere in clear: log, checkpoints, logs of the programs
    world.operator.ok('GET', '/v1/events?limit=1000')
    files = [f for f in world.folder.rglob('*') if f.is_file()]
    assert any(b'SetSecret' in f.read_bytes() for f in files)
    for clear in (value, later):
        assert not [str(f) for f in files if clear.encode() in f.read_bytes()]
    # each value has a key of its own beside the log, and those of values that were replaced or unset are gone
    log = b''.join(f.read_bytes() for f in files if f.suffix == '.jsonl')
    set_ids = [m.decode() for m in re.findall(rb'"name":"(?:API_TOKEN|OTHER|NEW)","value":\{"sealed":"([0-9a-f]{16}):', log)]
    assert len(set(set_ids)) == 4, set_ids  # API_TOKEN, OTHER, API_TOKEN again, NEW
    kept = lambda: {f.name for f in world.folder.rglob('keys/*')} & set(set_ids)
    until(lambda: kept() == {set_ids[2], set_ids[3]}, 'the keys of what was replaced or unset are gone')
    for p in (project, other):
        world.user.ok('DELETE', f'/v1/projects/{p["project_id"]}', status=202)


def test_waitlist(world):
    """Anybody may join; nobody learns who has; it is bounded in rate; addresses are nowhere in clear."""
    anybody = Client(world, world.public.port)
    join = lambda email, **options: anybody.ask('POST', '/v1/waitlist', {'email': email}, **options)
    email = f'Ada-{uuid.uuid4().hex}@example.org'
    first, again = join(email), join(email.lower())
    shown = lambda a: (a.status, a.body, sorted(set(a.headers.keys()) - {'Date'}))
    assert first.status == 202 and shown(first) == shown(again) and 'Slipform-Position' not in first.headers
    for bad in ('', 'ada', '@example.org', 'ada@', 'ada@example', 'ada@.org', 'ada@org.', 'a b@example.org', 'a@b@example.org', 'a' * 255 + '@example.org'):
        assert 'an address like' in problem(join(bad), 400, 'invalid')
    until(lambda: [p['email'] for p in world.user.items('/v1/waitlist')] == [email], 'one place, once')
    problem(anybody.get('/v1/waitlist'), 401, 'unauthenticated')
    files = [f for f in world.folder.rglob('*') if f.is_file()]
    assert not [f for f in files if email.lower() in f.read_bytes().decode(errors='replace').lower()]
    # who followed is told; each place has a key of its own, and who is erased cannot be read again, in no copy of the log
    cursor = world.user.ok('GET', '/v1/waitlist').json['cursor']
    second = f'Bob-{uuid.uuid4().hex}@example.org'
    assert join(second).status == 202
    news = world.user.ok('GET', f'/v1/waitlist?cursor={cursor}&wait=20').json
    assert [p['email'] for p in news['items']] == [second] and not news['full']
    key_of = lambda: re.findall(rb'"email":\{"sealed":"([0-9a-f]{16}):', b''.join(f.read_bytes() for f in world.folder.rglob('*.jsonl')))
    kept = lambda: {f.name for f in world.folder.rglob('keys/*')}
    ids = [k.decode() for k in key_of()]
    assert len(ids) == 2 and until(lambda: kept() >= set(ids), 'both have keys') is not False
    place = world.user.items('/v1/waitlist')[0]['waiting_id']
    problem(anybody.ask('DELETE', f'/v1/waitlist/{place}'), 401, 'unauthenticated')
    problem(world.user.ask('DELETE', f'/v1/waitlist/{uuid.uuid4()}'), 404, 'not-found')
    world.user.ok('DELETE', f'/v1/waitlist/{place}', status=202)
    assert ids[0] not in kept() and ids[1] in kept()  # answered when the key of the erased is gone; the other stays
    erased = world.user.ok('GET', f'/v1/waitlist?cursor={news["cursor"]}&wait=20').json
    assert erased['removed'] == [place] and erased['items'] == [] and not erased['full']
    problem(world.user.ask('DELETE', f'/v1/waitlist/{place}'), 404, 'not-found')
    assert [p['email'] for p in world.user.items('/v1/waitlist')] == [second]
    answers = [join(f'{n}@example.org') for n in range(25)]
    refused = [a for a in answers if a.status != 202]
    assert 4 <= len(refused) <= 8 and {a.headers['Retry-After'] for a in refused} == {'6'}
    problem(refused[0], 429, 'too-many')
    until(lambda: len(world.user.items('/v1/waitlist')) == 1 + 25 - len(refused), 'who was not refused has a place')


def test_who_may_use_the_log_of_an_application(world):
    """Its instance, through the node that it is placed on: reads inputs and output, appends to its output; nobody else knows of them."""
    _, d = live(world, 'imaged')
    digest = next(i['digest'] for i in world.operator.items('/v1/images') if i['image_id'] == world.deployment(d['deployment_id'])['image_id'])
    put = lambda version, process: world.operator.ask('PUT', f'/v1/applications/ledger/{version}', {
        'streams': [{'name': name} for name in ('orders', 'bills')], 'process': {'imageDigest': digest, **process}})
    process = {'inputStreams': ['orders'], 'outputStream': 'bills'}
    assert put('1', process).status == 201 and put('1', process).status == 200
    problem(put('1', {'inputStreams': ['bills'], 'outputStream': 'bills'}), 409, 'conflict')
    application = world.operator.ok('GET', '/v1/applications/ledger/1').json
    log = {row['stream']: row['log_id'] for row in application['logs']}
    row = world.until(lambda: next((r for r in world.operator.items('/v1/instances') if r['spec']['process_id'] == application['process_id']), None), 'it is placed')
    env = dict(e.split('=', 1) for e in row['spec']['env'])
    assert env['SLIPFORM_OUTPUT_LOG'] == log['bills'] and env['SLIPFORM_INPUT_LOGS'] == log['orders']
    home = next(n for n in world.nodes if n.name == row['node'])
    other = next(n for n in world.nodes if n.name != row['node'] and n.name != 'operator-1')
    me = {'Slipform-Instance': row['instance_id']}
    path = lambda name: f'/v1/logs/{log[name]}/events'
    event = lambda: {'type': 'Billed', 'id': str(uuid.uuid4()), 'payload': {'cents': 5}}
    first = {'expected': {'seq': 0}, 'events': [event(), event()]}
    written = home.client.ok('POST', path('bills'), first, 201, headers=me)
    assert [i['seq'] for i in written.json['items']] == [1, 2] and written.headers['Slipform-Position']
    news = home.client.ask('POST', path('bills'), {'expected': {'seq': 0}, 'events': [event()]}, headers=me)
    assert news.status == 409 and [i['id'] for i in news.json['items']] == [e['id'] for e in first['events']]
    end = {'seq': 2, 'sum': written.json['items'][-1]['sum']}
    assert home.client.ok('POST', path('bills'), {'expected': end, 'events': [event()]}, 201, headers=me).json['items'][0]['seq'] == 3
    problem(home.client.ask('POST', path('bills'), {'expected': {'seq': 3, 'sum': 'crc32c:zz'}, 'events': [event()]}, headers=me), 400, 'invalid')
    assert len(home.client.ok('GET', path('bills') + '?after=1', headers=me).json['items']) == 2
    assert home.client.ok('GET', path('orders'), headers=me).json['items'] == []
    problem(home.client.ask('POST', path('orders'), first, headers=me), 404, 'not-found')  # an input is not its to write
    problem(home.client.ask('GET', path('bills')), 400, 'invalid')  # for whom?
    problem(other.client.ask('GET', path('bills'), headers=me), 404, 'not-found')  # it is not placed there
    stranger = next(i['instance_id'] for i in instances_of(world, d['deployment_id']) if i['node'] == home.name)
    problem(home.client.ask('GET', path('bills'), headers={'Slipform-Instance': stranger}), 404, 'not-found')
    # Who waits for news of a log is answered by the append, for the instance too; who waits for nothing, at the end.
    problem(home.client.ask('GET', path('orders') + '?wait=31', headers=me), 400, 'invalid')
    assert home.client.ok('GET', path('orders') + '?wait=1', headers=me).json['items'] == []
    took_s, answers = [], []
    for n in range(4):
        reader = threading.Thread(target=lambda: answers.append(home.client.get(path('orders') + f'?after={n}&wait=25', headers=me)))
        reader.start()
        end = world.operator.ok('GET', path('orders') + f'?after={n}').json['end']
        until(lambda: not answers[n:], 'it waits')
        began = time.monotonic()
        world.operator.ok('POST', path('orders'), {'expected': end, 'events': [event()]}, 201)
        reader.join(120)
        took_s.append(time.monotonic() - began)
        assert [i['seq'] for i in answers[n].json['items']] == [n + 1]
    assert min(took_s) < 4, took_s  # a replica looks every 5 s for what others append: it was told at least once
    assert [e['what'] for e in world.operator.items(f'/v1/processes/{application["process_id"]}/timeline')][0] == 'created'
    world.operator.ok('DELETE', '/v1/applications/ledger/1', status=202)
    world.until(lambda: world.operator.ask('GET', '/v1/applications/ledger/1').status == 404, 'it is gone')


def test_a_program_tells_how_it_is(world):
    """Its node's heartbeat carries it: shown, recorded, judged; a node's tale of an instance that is not its own is not."""
    _, d = live(world, 'imaged')
    digest = next(i['digest'] for i in world.operator.items('/v1/images') if i['image_id'] == world.deployment(d['deployment_id'])['image_id'])
    process_id = world.operator.ok('PUT', '/v1/applications/teller/1', {'process': {'imageDigest': digest}}, 201).json['process_id']
    row = world.until(lambda: next((r for r in world.operator.items('/v1/instances') if r['spec']['process_id'] == process_id and r['status'] == 'running'), None), 'it runs')
    home = next(n for n in world.nodes if n.name == row['node'])
    other = next(n for n in world.nodes if n is not home)
    window = {'start': '2026-11-22T12:00:00.000000Z#0', 'end': '2026-11-22T12:00:05.000000Z#0', 'n_input_events_handled_ok': 30, 'n_output_events': 2}
    report = {'run_id': str(uuid.uuid4()), 'sequence': 1, 'state': 'live', 'checkpoint': '2026-11-22T12:00:04Z#0', 'n_input_events_handled': 30,
              'n_output_events': 2, 'lag_events': 7, 'windows': [window]}
    told = lambda: world.operator.ok('GET', f'/v1/processes/{process_id}/timeline').json['instances'][0]
    shown = lambda: world.operator.ok('GET', f'/v1/processes/{process_id}').json

    def says(node, **news):
        node.umbilical[row['instance_id']] = {'silent_ms': news.pop('silent_ms', 0), 'report': {**report, **news}}
        if node is other:
            node.reported[row['instance_id']] = ('running', 'NOMINAL')
        node.heartbeat()

    says(other, lag_events=99, state='stalled', trouble='a tale')
    assert 'progress' not in told() and shown()['health'] == 'NOMINAL'
    del other.reported[row['instance_id']], other.umbilical[row['instance_id']]
    says(home)
    assert told()['progress']['windows'] == [window] and told()['progress']['checkpoint'].startswith('2026-11-22T12:00:04')
    assert (shown()['lag_events'], shown()['health']) == (7, 'NOMINAL') and 'events_per_second' in shown()
    assert 'instances healthy' in shown()['explanation']['state'] and 'why' not in shown()['explanation']
    for news, health, why in (({'n_effects_parked': 1, 'parked_cause': 'nobody opens'}, 'WARNING', 'nobody opens'),
                              ({'state': 'stalled', 'trouble': 'cannot go down'}, 'ERROR', 'cannot go down'),
                              ({'behind_ms': 20000}, 'STALL', '7 events of its input'), ({'silent_ms': 20000}, 'TIMEOUT', 'has not reported'),
                              ({}, 'NOMINAL', '')):
        says(home, **news)
        world.until(lambda: shown()['health'] == health, f'it is {health}')
        assert why in shown()['explanation'].get('why', '')
    assert len([i for i in world.operator.items('/v1/instances') if i['spec']['process_id'] == process_id]) == 1  # nothing was replaced
    recorded = lambda: [e for e in world.operator.ok('GET', '/v1/events?log=statistics').json['items'] if e['payload']['instanceId'] == row['instance_id']]
    world.until(lambda: {e['type'] for e in recorded()} == {'InstanceIopw', 'InstanceProgress'}, 'it is recorded')
    assert [e['payload'].get('nInputEventsHandledOk') for e in recorded() if e['type'] == 'InstanceIopw'] == [30]
    assert all(e['type'] not in ('InstanceIopw', 'InstanceProgress') for e in world.operator.items('/v1/events'))
    problem(world.operator.ask('GET', '/v1/events?log=gossip'), 404, 'not-found')
    world.operator.ok('DELETE', '/v1/applications/teller/1', status=202)
    world.until(lambda: world.operator.ask('GET', '/v1/applications/teller/1').status == 404, 'it is gone')


def test_edges_are_led_to_an_application(world):
    """Exposed by its PUT: a host, a certificate, a route to the version that is healthy; labels belong to one owner."""
    _, d = live(world, 'imaged')
    digest = next(i['digest'] for i in world.operator.items('/v1/images') if i['image_id'] == world.deployment(d['deployment_id'])['image_id'])
    put = lambda name, version, **process: world.operator.ask('PUT', f'/v1/applications/{name}/{version}', {'process': {'imageDigest': digest, **process}})
    get = lambda version: world.operator.ok('GET', f'/v1/applications/Counter.1/{version}').json
    routes = lambda: {r['project']: r for r in world.operator.items('/v1/routes')}
    assert 'imaged' in problem(put('Imaged', '1', expose=True), 409, 'conflict')
    inside = put('Counter.1', '0').json
    assert 'url' not in inside and 'route' not in inside
    first = put('Counter.1', '1', expose=True, instancesWanted=2).json
    assert first['url'].startswith('https://counter-1.') and first['route'] == 'waiting' and 'counter-1' not in routes()
    assert 'Counter.1' in problem(world.user.ask('POST', '/v1/projects', {'name': 'counter 1'}), 409, 'conflict')
    world.until(lambda: get('1')['route'] == 'serving', 'edges lead to it')
    route = routes()['counter-1']
    assert route['route_id'] == first['process_id'] and len(route['endpoints']) == 2
    assert [h['host'] for h in route['hosts']] == [first['url'].split('/')[2].split(':')[0]]
    assert any(c['type'] == 'IssueCertificate' and c['payload']['host'] == route['hosts'][0]['host'] for c in world.operator.events())
    cursor = world.operator.get('/v1/routes').json['cursor']
    second = put('Counter.1', '2', expose=True).json
    world.until(lambda: get('2')['route'] == 'serving', 'the next version takes over')
    assert get('1')['route'] == 'replaced' and routes()['counter-1']['route_id'] == second['process_id']
    news = world.operator.ok('GET', f'/v1/routes?cursor={cursor}').json
    assert first['process_id'] in news['removed'] and second['process_id'] in [i['route_id'] for i in news['items']]
    world.operator.ok('DELETE', '/v1/applications/Counter.1/2', status=202)
    assert get('1')['route'] == 'serving' and routes()['counter-1']['route_id'] == first['process_id']
    for version in '01':
        world.operator.ok('DELETE', f'/v1/applications/Counter.1/{version}', status=202)
    world.until(lambda: not world.operator.items('/v1/applications'), 'they are gone')
    assert 'counter-1' not in routes()


def test_nodes_and_objects_by_the_cli(world):
    """slipform nodes drain|undrain|leave, and slipform status of a deployment, an instance, a node."""
    _, d = live(world, 'told')
    node = Node(world, 'worker-9', 'a', ['worker'], 9)
    node.join()
    world.nodes.append(node)
    told = lambda *words: json.loads(world.cli(*words, '--json').stdout)
    row = lambda: next(n for n in told('nodes') if n['name'] == 'worker-9')
    world.until(lambda: row()['status'] == 'ready', 'it is ready')
    for name in ('worker-9', row()['node_id']):  # by its name, by its id
        assert told('nodes', 'drain', name)['status'] == row()['status'] == 'draining'
        done = world.cli('nodes', 'undrain', name)
        assert f"node '{name}' is ready" in done.stdout and row()['node_id'] in done.stdout and row()['status'] == 'ready'
    # What is asked of an id: where it is, and why.
    instance = instances_of(world, d['deployment_id'])[0]
    deployment = told('status', d['deployment_id'])
    assert deployment['deployment_id'] == d['deployment_id'] and deployment['status'] == 'live'
    assert told('status', instance['instance_id'])['node'] == instance['node']
    assert told('status', row()['node_id'])['name'] == 'worker-9'
    for id_, words in ((d['deployment_id'], ('live', 'told')), (instance['instance_id'], ('running', instance['node'])), (row()['node_id'], ('worker-9', 'ready'))):
        text = world.cli('status', id_).stdout
        assert all(word in text for word in words), text
    # What cannot be is said, with the exit codes of the contract.
    for words, code, said in ((('nodes', 'drain', 'nobody'), 3, "there is no node 'nobody'"), (('nodes', 'drain'), 1, "say 'nodes drain NODE'"),
                              (('nodes', 'paint', 'worker-9'), 1, "say 'nodes drain NODE'"), (('status', 'worker-9'), 1, 'no id of'),
                              (('status', str(uuid.uuid4())), 3, 'there is no deployment, instance, node or application')):
        done = world.cli(*words, check=False)
        assert said in done.stderr and done.returncode == code, (words, done)
    assert 'drain it first' in world.cli('nodes', 'leave', 'worker-9', check=False).stderr
    world.cli('nodes', 'drain', 'worker-9')
    assert world.cli('nodes', 'leave', 'worker-9').stdout.startswith("node 'worker-9' is")
    world.nodes.remove(node)
    world.until(lambda: not any(n['name'] == 'worker-9' and n['status'] == 'ready' for n in told('nodes')), 'it is gone')


def test_what_is_long_over_is_told_by_the_log(world):
    """A deployment that the model forgot: 404 that says where to look, and there it is."""
    project, d = live(world, 'forgetful')
    # Not one instance fits beside those that serve: each fails before anything is built.
    failed = []
    for _ in range(12):
        failed.append(world.deploy(project['project_id'], memory_bytes=200 << 30).json['deployment_id'])
        world.until(lambda: world.deployment(failed[-1])['status'] == 'failed', 'it has failed')
    kept = lambda: [one['deployment_id'] for one in world.user.items(f'/v1/deployments?project_id={project["project_id"]}')]
    world.until(lambda: sorted(kept()) == sorted([d['deployment_id'], *failed[2:]]), 'the newest ten that failed, and the live one')
    detail = problem(world.user.ask('GET', f'/v1/deployments/{failed[0]}'), 404, 'not-found')
    assert f"'slipform events --of {failed[0]}'" in detail and 'no longer kept' in detail, detail
    assert 'no longer kept' in problem(world.user.ask('PUT', f'/v1/deployments/{failed[0]}/status', {'status': 'live'}), 404, 'not-found')
    assert 'no longer kept' in problem(world.user.ask('GET', f'/v1/deployments/{failed[0]}/logs'), 404, 'not-found')
    told = world.cli('status', failed[0], check=False)
    assert told.returncode == 3 and f'slipform events --of {failed[0]}' in told.stderr, told
    events = json.loads(world.cli('events', '--of', failed[0], '--json').stdout)
    assert [e['type'] for e in events] == ['CreateDeployment', 'DeploymentStatusChange'], events
    assert 'refused before building' in events[1]['payload']['cause']
    assert "'nobody' is no id" in world.cli('events', '--of', 'nobody', check=False).stderr
    # How it was, from the log itself.
    (world.folder / 'home/log').mkdir()
    (world.folder / 'home/log/platform').symlink_to(world.folder / 'log')
    first, last = events[1]['seq'], json.loads(world.cli('events', '--json').stdout)[-1]['seq']
    assert json.loads(world.cli('status', failed[0], '--at', first, '--json').stdout)['status'] == 'failed'
    told = world.cli('status', failed[0], '--at', last, check=False)
    assert told.returncode == 3 and 'there was no' in told.stderr, told
    changes = {c['id']: c['change'] for c in json.loads(world.cli('diff', first, last, '--json').stdout) if c['kind'] == 'deployment'}
    assert changes[failed[0]] == 'removed' and changes[failed[-1]] == 'added', changes


def test_an_image_that_nothing_uses_is_deleted(world):
    _, d = live(world, 'image-user')
    image = world.deployment(d['deployment_id'])['image_id']
    assert "used by a deployment of 'image-user'" in problem(world.operator.ask('DELETE', f'/v1/images/{image}'), 409, 'conflict')
    _, d = live(world, 'image-user', drain_seconds=0)  # another build took its place
    world.until(lambda: world.operator.ask('DELETE', f'/v1/images/{image}').status == 202, 'what used it is over')
    assert world.operator.ask('DELETE', f'/v1/images/{image}').status == 404


# ---- crashes ----

def model_hashes(world):
    """Both programs' (position, hash), once they stand at one position."""
    def same():
        a, b = (Client(world, p.port).ok('GET', '/readyz').json for p in (world.management, world.public))
        return a['position'] == b['position'] and (a, b)
    return until(same, 'both replicas stand at one position')


def test_kill_either_program_and_go_on(world):
    project = project_of(world, 'phoenix')
    made = world.deploy(project['project_id'], drain_seconds=0).json
    world.management.kill()
    assert world.deployment(made['deployment_id'])['deployment_id'] == made['deployment_id'], 'the other one answers'
    world.management.start()
    world.build(made['deployment_id'])
    world.public.kill()
    world.public.start()
    world.until(lambda: world.deployment(made['deployment_id'])['status'] == 'live', 'it is live in spite of all')
    ids = {i['instance_id'] for i in instances_of(world, made['deployment_id'])}
    world.management.kill()
    world.public.kill()
    world.management.start()
    world.public.start()
    assert {i['instance_id'] for i in instances_of(world, made['deployment_id'])} == ids
    a, b = model_hashes(world)
    assert a['model_hash'] == b['model_hash']
    world.step()
    assert project['project_id'] in world.edge.routes


@pytest.mark.parametrize('change, said', [
    ({'listen': ['127.0.0.1:{public}']}, 'in use'),
    ({'workloads': ['management-api', 'fly']}, "'fly'"),
    ({'tuning': ['drain_secs=3']}, 'drain_secs'),
    ({'event_store': 'files;path=/nonexistent/log'}, '/nonexistent/log'),
    ({'event_store': 'files;path=/var/tmp/no-log-of-slipform', 'event_store_create': False}, 'is not there: bring it back'),
    ({'ca_key_file': '/nonexistent.key'}, '/nonexistent.key'),
    ({'colour': 'red'}, 'colour'),
])
def test_settings_that_are_wrong_are_named(world, change, said):
    change = {k: [x.replace('{public}', str(world.public.port)) for x in v] if isinstance(v, list) else v for k, v in change.items()}
    config = world.folder / 'wrong.yaml'
    config.write_text(json.dumps({**world.management.settings, 'listen': ['127.0.0.1:0'], **change}))
    done = subprocess.run([PROGRAM, '--config', config], capture_output=True, text=True, timeout=120)
    assert 1 <= done.returncode <= 5 and said in done.stderr and 'Sanitizer' not in done.stderr, done
    assert not os.path.exists('/var/tmp/no-log-of-slipform')


def test_stop_is_clean(world):
    """Last: SIGTERM answers who waits, and ends with 0."""
    cursor = world.operator.ok('GET', '/v1/images').json['cursor']
    answers = []
    thread = threading.Thread(target=lambda: answers.append(world.operator.get(f'/v1/images?cursor={cursor}&wait=30')))
    thread.start()
    time.sleep(0.3)  # the poll is under way
    assert world.management.stop() == 0 and world.public.stop() == 0
    thread.join(60)
    assert answers and answers[0].status in (200, 503)
