"""Two replicas of the control plane over one log in a real PostgreSQL. Real programs and a real server; the test plays agents."""
import json
import signal
import subprocess
import threading
import time
import uuid

import pytest

import log_stores
from log_stores import SLIPFORM
from platform_world import PROGRAM, until
from postgres_server import Server, Standby, programs
from test_replicas import Replicas, once

pytestmark = [pytest.mark.skipif(not PROGRAM.exists(), reason=f'{PROGRAM} is not built'),
              pytest.mark.skipif(programs() is None, reason='SKIPPED: no PostgreSQL in /usr/lib/postgresql: install postgresql-15')]


class OnPostgres(Replicas):
    def __init__(self, server, second=None):
        super().__init__()
        self.server = server
        log_stores.use(self, server)
        for program in self.all if second else []:
            program.settings['event_store'] = server.spec('platform').replace(server.folder, f'{server.folder},{second.folder}')

    def lease(self, program):
        row = self.server.sql(f"SELECT plans, abstains FROM slipform.leases WHERE name = '{program.name}' AND until_us > slipform.clock_us()")
        return {key: True for key, value in zip(('plans', 'abstains'), row.split('|')) if value == 't'}

    def ends(self):
        return self.server.sql("SELECT seq || ' ' || (SELECT count(*) || ' ' || max(seq) FROM slipform.events e WHERE e.log = h.log) "
                               "FROM slipform.heads h WHERE name = 'platform'").split()


@pytest.fixture
def world():
    with log_stores.log_store('postgres') as server:
        world = OnPostgres(server)
        try:
            world.start()
            world.populate()
            world.hashes_agree()  # the other one looks every 200 ms, and knows nobody who has joined before that
            world.settle()
            yield world
        finally:
            world.discard()


def test_over_one_log_in_a_database(world):
    """What one writes the other has; the server is shut down under them and comes back; one is killed: nothing is lost, nothing twice."""
    world.live('before')
    a, b = (world.client_of(p) for p in world.all)
    for i in range(10):
        writer, reader = (a, b) if i % 2 == 0 else (b, a)
        wrote = writer.ok('POST', '/v1/projects', {'name': f'written-{i}'}, 201)
        read = reader.ok('GET', '/v1/projects', headers={'Slipform-Position': wrote.headers['Slipform-Position']})
        assert wrote.json['project_id'] in [p['project_id'] for p in read.json['items']]
    world.server.restart()
    for program in world.all:  # each writes again, by itself
        until(lambda p=program: world.client_of(p).ask('POST', '/v1/projects', {'name': f'after-{p.name}'}).status in (201, 409),
              f'{program.name} writes again')
    world.live('between')
    world.first.process.send_signal(signal.SIGKILL)
    world.first.process.wait()
    world.turn_to(world.second)
    world.live('behind')
    seq, count, last = world.ends()
    assert seq == count == last, 'positions have no gaps'
    once(world.events('CreateInstance'), 'address', 'processId', 'nodeId', 'instanceId')
    once(world.events('CreateProject'), 'name')
    done = subprocess.run([SLIPFORM, 'eventlog', 'verify', world.server.spec('platform')], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and 'all good' in done.stdout, done


def waits_for(client, path, answers):
    asked = time.monotonic()
    answer = client.get(path)
    answers.append((answer, time.monotonic() - asked))


def test_streams_are_one_for_all(world):
    """The log of an application's stream, of replicas that share no folder: appended at one, read at the other, also by who waits there
    already; an append that knows less than another replica wrote is refused; one is killed: what it acknowledged is there."""
    assert len({p.settings['streams_folder'] for p in world.all}) == 2, 'no folder is shared'
    a, b = (world.client_of(p) for p in world.all)
    _, d = world.live('imaged')
    digest = next(i['digest'] for i in a.items('/v1/images') if i['image_id'] == world.deployment(d['deployment_id'])['image_id'])
    a.ok('PUT', '/v1/applications/ledger/1', {'streams': [{'name': 'bills'}], 'process': {'imageDigest': digest, 'outputStream': 'bills'}}, 201)
    path = f'/v1/logs/{a.ok("GET", "/v1/applications/ledger/1").json["logs"][0]["log_id"]}/events'
    event = lambda: {'type': 'Billed', 'id': str(uuid.uuid4()), 'payload': {'cents': 5}}
    until(lambda: b.get(path).status == 200, 'the other one knows of the log')
    ids, end = [], {'seq': 0}
    for n in range(6):
        writer, reader = (a, b) if n % 2 == 0 else (b, a)
        answers = []
        waiting = threading.Thread(target=waits_for, args=(reader, f'{path}?after={n}&wait=30', answers))
        waiting.start()
        e = event()
        wrote = writer.ok('POST', path, {'expected': end, 'events': [e]}, 201).json['items'][0]
        ids.append(e['id'])
        waiting.join(120)
        answer, took = answers[0]
        assert [i['id'] for i in answer.json['items']] == [e['id']], answer
        assert took < 25, 'seen by looking, not when the wait is over'
        assert reader.ask('POST', path, {'expected': end, 'events': [event()]}).status == 409
        end = {'seq': wrote['seq'], 'sum': wrote['sum']}
    world.first.process.send_signal(signal.SIGKILL)
    world.first.process.wait()
    assert [i['id'] for i in b.ok('GET', path).json['items']] == ids
    world.turn_to(world.second)
    assert world.server.sql("SELECT count(*) FROM slipform.heads WHERE name <> 'platform'") == '1', 'a log of its own'


def line(instance_id, seq, text):
    return json.dumps({'time': f'2026-11-22T12:00:00.{seq:06}Z', 'instance_id': instance_id, 'stream': 'stdout', 'text': text, 'seq': seq}) + '\n'


class Follower(threading.Thread):
    """`slipform logs --follow` of an instance, as a client of one replica."""

    def __init__(self, client, instance_id):
        super().__init__(daemon=True)
        self.client, self.path, self.seen = client, f'/v1/instances/{instance_id}/logs?follow=true', {}
        self.start()

    def run(self):
        connection, answer = self.client.open('GET', self.path)
        try:
            while text := answer.readline():
                self.seen.setdefault(json.loads(text)['seq'], time.monotonic())
        except OSError:
            pass
        finally:
            connection.close()


def test_lines_are_one_for_all(world):
    """What instances print, of replicas that share no folder: told to one, read at the other, within a second by who follows there; told to
    both, kept once; one is killed, and the server restarted: what was acknowledged is there, and it goes on."""
    assert len({p.settings['logs_folder'] for p in world.all}) == 2, 'no folder is shared'
    a, b = world.all
    _, d = world.live('printer')
    row = next(r for r in world.operator.items(f'/v1/instances?deployment_id={d["deployment_id"]}') if r['status'] == 'running')
    node = next(n for n in world.nodes if n.name == row['node'])
    instance_id = row['instance_id']
    path = f'/v1/instances/{instance_id}/logs'

    def tell(program, *seqs):
        body = ''.join(line(instance_id, seq, f'line {seq}') for seq in seqs).encode()
        return world.client_of(program, node.cert).ok('POST', path, body).json['seq']

    def lines(program):
        return [i['seq'] for i in world.client_of(program).ok('GET', path + '?format=json').json['items']]

    until(lambda: world.client_of(b).get(path + '?format=json').status == 200, 'the other one knows of the instance')
    follower = Follower(world.client_of(b), instance_id)
    late = []
    for seq in range(1, 11):
        told = time.monotonic()
        assert tell(a, seq) == seq
        until(lambda: seq in follower.seen, f'line {seq} is seen at the other one', pause=0.01)
        late.append(follower.seen[seq] - told)
    print(f'seen by a follower of the other replica after {sorted(late)[5] * 1000:.0f} ms, at most {max(late) * 1000:.0f} ms')
    assert min(late) < 2, late  # the others may be late by what the machine is busy
    assert tell(b, 9, 10, 11) == 11, 'the answer of the first one was lost: it is sent to the other'
    assert tell(a, 10, 11, 12) == 12
    assert lines(a) == lines(b) == list(range(1, 13))
    world.server.restart()
    until(lambda: world.client_of(a, node.cert).ask('POST', path, line(instance_id, 13, 'x').encode()).status == 200, 'lines are taken again')
    until(lambda: world.client_of(b).get(path + '?format=json').status == 200, 'and shown')
    assert lines(b) == list(range(1, 14))
    a.process.send_signal(signal.SIGKILL)
    a.process.wait()
    world.turn_to(b)
    assert lines(b) == list(range(1, 14))
    assert tell(b, 14) == 14
    until(lambda: 14 in follower.seen, 'who followed all the time goes on')
    assert sorted(follower.seen) == list(range(1, 15))


def test_a_tail_that_was_lost_is_not_continued():
    """An asynchronous standby takes over without the newest events: replicas that have them read only, say why, and append nothing behind the shorter log."""
    with Server() as server, Standby(server, 'second') as second:
        log_stores.create(server.owner_spec('platform'))
        world = OnPostgres(server, second)
        try:
            world.start()
            world.populate()
            world.hashes_agree()  # who has not read that a node joined does not know it
            world.settle()
            until(lambda: second.sql("SELECT seq FROM slipform.heads WHERE name = 'platform'") == world.ends()[0], 'the standby has all')
            second.settings(primary_conninfo='')
            until(lambda: second.sql('SELECT count(*) FROM pg_stat_wal_receiver') == '0', 'it receives nothing any more')
            a, b = (world.client_of(p) for p in world.all)
            wrote = a.ok('POST', '/v1/projects', {'name': 'lost'}, 201)
            b.ok('GET', '/v1/projects', headers={'Slipform-Position': wrote.headers['Slipform-Position']})
            server.kill()
            second.promote()
            had = second.sql("SELECT seq, sum FROM slipform.heads WHERE name = 'platform'")

            def refuses(client):
                answer = client.ask('POST', '/v1/projects', {'name': 'behind'})
                return answer.status == 503 and b'the fold of the log has stopped' in answer.body and b'ends at' in answer.body
            for client in (a, b):
                until(lambda c=client: refuses(c), 'it says that its log is not the one it read')
                assert 'lost' in [p['name'] for p in client.ok('GET', '/v1/projects').json['items']]
            assert second.sql("SELECT seq, sum FROM slipform.heads WHERE name = 'platform'") == had
        finally:
            world.discard()


class Pusher(threading.Thread):
    """What an instance prints, pushed by its node a few lines at a time, again until they are acknowledged."""

    def __init__(self, world, program, teller, path):
        super().__init__(daemon=True)
        self.client, self.instance_id, self.path = world.client_of(program, teller.node.cert), teller.instance_id, path
        self.acknowledged, self.refused, self.slowest_s, self.is_over = 0, 0, 0, False

    def run(self):
        while not self.is_over:
            began, seqs = time.monotonic(), range(self.acknowledged + 1, self.acknowledged + 4)
            answer = self.client.ask('POST', self.path, ''.join(line(self.instance_id, seq, f'line {seq}') for seq in seqs).encode())
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if answer.status == 200:
                self.acknowledged = answer.json['seq']
            else:
                assert answer.status == 503, answer
                self.refused += 1
            time.sleep(0.05)  # no more than an answer shows

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.join(60)


class Teller:
    """An application's instance that tells its node of itself, and the node the replicas."""

    def __init__(self, world):
        self.world = world
        _, d = world.live('imaged')
        digest = next(i['digest'] for i in world.operator.items('/v1/images') if i['image_id'] == world.deployment(d['deployment_id'])['image_id'])
        process_id = world.operator.ok('PUT', '/v1/applications/teller/1', {'process': {'imageDigest': digest}}, 201).json['process_id']
        row = world.until(lambda: next((r for r in world.operator.items('/v1/instances') if r['spec']['process_id'] == process_id and r['status'] == 'running'), None), 'it runs')
        self.node, self.instance_id = next(n for n in world.nodes if n.name == row['node']), row['instance_id']

    def tell(self, k, *programs):
        """Its window number k, told to each of them. When that ended."""
        window = {'start': f'2026-11-22T12:00:{k * 5:02}.000000Z#0', 'end': f'2026-11-22T12:00:{k * 5 + 5:02}.000000Z#0', 'n_input_events_handled_ok': 30, 'n_output_events': 2}
        self.node.umbilical[self.instance_id] = {'silent_ms': 0, 'report': {
            'run_id': str(uuid.UUID(int=7)), 'sequence': k + 1, 'state': 'live', 'checkpoint': window['end'], 'n_input_events_handled': 30 * (k + 1),
            'n_output_events': 2, 'windows': [window]}}
        for program in programs:
            self.node.heartbeat(program)
        return window['end']

    def recorded(self, program):
        events = self.world.client_of(program).ok('GET', '/v1/events?log=statistics').json['items']
        assert [e['seq'] for e in events] == list(range(1, len(events) + 1))
        return [e['payload']['windowEnd'] for e in events if e['type'] == 'InstanceIopw']


def test_statistics_are_one_for_all(world):
    """The log `statistics`, of replicas that share no folder: what a node told both is there once, whichever is asked; one is killed: it goes on."""
    assert len({p.settings['statistics_folder'] for p in world.all}) == 2, 'no folder is shared'
    a, b = world.all
    teller = Teller(world)
    tell, recorded = teller.tell, teller.recorded
    ends = [tell(k, a, b) for k in range(3)]
    until(lambda: recorded(a) == recorded(b) == ends, 'each window is there once, for both')
    a.process.send_signal(signal.SIGKILL)
    a.process.wait()
    world.turn_to(b)
    assert recorded(b) == ends
    ends.append(tell(3, b))
    until(lambda: recorded(b) == ends, 'it goes on')


def test_lines_and_statistics_outlive_the_primary():
    """The database's primary dies and its standby takes over: lines and windows of before and after are there, each once, whichever replica is asked; those
    of the last moment, which no flush was waited for (docs/decisions/bulk-store.md), may be lost.
    Meanwhile lines are refused and cost the platform nothing: what it knows it tells, and it writes as soon as the log is there."""
    with Server() as server, Standby(server, 'second') as second:
        server.settings(synchronous_standby_names='second')
        until(lambda: server.sql('SELECT sync_state FROM pg_stat_replication', 'postgres') == 'sync', 'the standby is waited for')
        log_stores.create(server.owner_spec('platform'))
        world = OnPostgres(server, second)
        try:
            world.start()
            world.populate()
            world.hashes_agree()
            world.settle()
            a, b = world.all
            teller = Teller(world)
            ends = [teller.tell(k, a, b) for k in range(2)]
            until(lambda: teller.recorded(a) == teller.recorded(b) == ends, 'windows are there')
            path = f'/v1/instances/{teller.instance_id}/logs'

            def lines(program):
                answer = world.client_of(program).get(path + '?format=json')
                return [i['seq'] for i in answer.json['items']] if answer.status == 200 else None
            with Pusher(world, a, teller, path) as pusher:
                until(lambda: pusher.acknowledged > 20, 'lines are taken')
                kept, at = pusher.acknowledged, server.sql('SELECT pg_current_wal_insert_lsn()')
                until(lambda: second.sql(f"SELECT pg_last_wal_receive_lsn() >= '{at}'") == 't', 'the standby has them')
                server.kill()
                ends.append(teller.tell(2, a, b))  # heard while nobody can keep it
                until(lambda: pusher.refused > 3, 'lines are refused')
                behind = pusher.acknowledged  # answers that were on their way
                for program in world.all:
                    assert world.client_of(program).ok('GET', '/v1/projects', timeout=10).json['items'], 'what it knows it tells'
                second.promote()
                for program in world.all:
                    until(lambda p=program: world.client_of(p).ask('POST', '/v1/projects', {'name': f'after-{p.name}'}).status in (201, 409), 'it writes again')
                until(lambda: pusher.acknowledged > behind + 20, 'lines are taken again')
            print(f'{behind} lines before, {pusher.acknowledged - behind} after, {pusher.refused} times refused, the slowest after {pusher.slowest_s:.1f} s')
            until(lambda: lines(a) and lines(a) == lines(b), 'both show the same')
            found = lines(a)
            assert found == sorted(set(found)), 'in their order, each once'
            assert {*range(1, kept + 1), *range(behind + 1, pusher.acknowledged + 1)} <= set(found)
            until(lambda: teller.recorded(a) == teller.recorded(b) == ends, 'each window is there once')
            world.live('after')
            world.hashes_agree()
        finally:
            world.discard()
