"""From the acknowledgement of a write at one replica until every listener that it concerns has it: real replicas over a real PostgreSQL, with
active-notifiers and nats-server and without; nodes and edges are played, each with its long poll."""
import json
import subprocess
import sys
import threading
import time

from figures import Figure, ROOT, percentile
from house import Failed

sys.path.insert(0, str(ROOT / 'tests/system'))

WAIT_S = 25  # of a long poll
BOUND_S = 20  # until a listener has it, or the bench fails


class Listener(threading.Thread):
    """Follows as node-agents and edges do, on one connection; what it has, and since when."""

    def __init__(self, client, path, find):
        super().__init__(daemon=True)
        self.client, self.path, self.find, self.cursor = client, path, find, ''
        self.since, self.news, self.is_over, self.why = {}, threading.Condition(), False, None

    def run(self):
        connection = self.client.connection(WAIT_S + 15)
        try:
            while not self.is_over:
                connection.request('GET', f'{self.path}cursor={self.cursor}&wait={WAIT_S if self.cursor else 0}')
                response = connection.getresponse()
                body, now = response.read(), time.monotonic()
                if response.status != 200:
                    raise Failed(f'{self.path}: {response.status} {body[:300]}')
                document = json.loads(body)
                self.cursor = document['cursor']
                with self.news:
                    for item in document['items']:
                        for what in self.find(item):
                            self.since.setdefault(what, now)
                    self.news.notify_all()
        except Exception as why:  # noqa: BLE001 - told to whoever waits for it
            if not self.is_over:
                with self.news:
                    self.why = why
                    self.news.notify_all()

    def has(self, what):
        """When it had it."""
        with self.news:
            self.news.wait_for(lambda: what in self.since or self.why, BOUND_S)
            if what not in self.since:
                raise Failed(f'{self.path}: {self.why or f"it did not hear of {what} within {BOUND_S} s"}')
            return self.since[what]


def of_node(item):
    return [item['instance_id'], (item['instance_id'], item['spec']['desired'])]


def of_edge(item):
    return [endpoint['instance_id'] for endpoint in item.get('endpoints', [])]


def late(began, listeners, what):
    return max(0.0, max(listener.has(what) for listener in listeners) - began) * 1000


def one_round(world, process_id, number, nodes, edges):
    """An instance is placed: its node is to know. It runs: the edges are. It is deleted and goes. Two delays, ms."""
    node = world.nodes[1 + number % 3]
    made = world.operator.ok('POST', '/v1/instances', {'process_id': process_id, 'node_id': node.id}, 201).json['instance_id']
    placed = late(time.monotonic(), [nodes[node.id]], made)
    node.report(made, 'starting')
    answer = node.report(made, 'running', 'NOMINAL')
    runs = late(time.monotonic(), edges, made)
    if answer.status >= 300:
        raise Failed(f'a report was answered {answer}')
    world.operator.ok('DELETE', f'/v1/instances/{made}', status=202)
    nodes[node.id].has((made, 'stopped'))
    node.report(made, 'stopped')
    return placed, runs


def beat(world, is_over):
    while not is_over.wait(1):
        for node in world.nodes:
            for program in world.all:
                node.heartbeat(program)


def listen(world, rounds, process_id):
    """The writer's other replica is the listeners' one; one edge has the writer itself."""
    other, is_over = world.second, threading.Event()
    nodes = {node.id: Listener(world.client_of(other, node.cert), f'/v1/instances?node_id={node.id}&', of_node) for node in world.nodes[1:]}
    edges = [Listener(world.client_of(program, world.ca.issue('edge', name)), '/v1/routes?', of_edge)
             for name, program in (('operator-1', world.first), ('operator-2', other))]
    everybody = [*nodes.values(), *edges]
    heart = threading.Thread(target=beat, args=(world, is_over), daemon=True)
    try:
        for one in (heart, *everybody):
            one.start()
        one_round(world, process_id, 0, nodes, edges)
        return [delay for i in range(rounds) for delay in one_round(world, process_id, i, nodes, edges)]
    finally:
        is_over.set()
        for one in everybody:
            one.is_over = True
        heart.join(20)


def told(world):
    """NATS and the notifiers, until both replicas hear them."""
    from platform_world import until
    world.write_authorization()
    world.start_nats()
    for name in ('operator-1', 'worker-1'):
        world.start_notifier(name)
    until(lambda: all(world.metric(p, 'slipform_nats_up') == 1 for p in world.all), 'both replicas listen', seconds=30)
    before = world.metric(world.second, 'slipform_nats_hints') or 0
    until(lambda: world.user.ok('POST', '/v1/projects', {'name': f'hint-{time.monotonic_ns()}'}, 201)
          and world.metric(world.second, 'slipform_nats_hints') > before, 'hints come', seconds=30)


def measure(rounds):
    from postgres_server import Server
    from test_notifications import NATS, SLIPFORM, Told
    if not NATS.exists():
        raise Failed(f'there is no nats-server at {NATS}: tools/setup test builds it')
    with Server() as server:
        subprocess.run([SLIPFORM, 'eventlog', 'create', server.owner_spec('platform')], check=True, timeout=60)
        world = Told(server)
        for program in world.all:
            program.settings['node_timeout_seconds'] = 60
        try:
            world.start()
            world.populate()
            world.hashes_agree()
            project, deployment = world.live('bench')
            world.edge = None
            without = listen(world, rounds, deployment['deployment_id'])
            told(world)
            with_nats = listen(world, rounds, deployment['deployment_id'])
        finally:
            world.discard()
    print(f'       without NATS: p50 {percentile(without, 50):.0f} ms, p99 {percentile(without, 99):.0f} ms; '
          f'with: p50 {percentile(with_nats, 50):.0f} ms, p99 {percentile(with_nats, 99):.0f} ms')
    return [Figure('acknowledged until every listener has it, NATS', 'ms', with_nats, 'without NATS', without, is_paired=False)]
