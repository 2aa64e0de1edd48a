#!/usr/bin/python3
"""A real control plane under thousands of simulated node-agents (agents.c) over real mTLS; all replicas are killed and all agents come back at
once; a third of them vanishes at once.

usage: bench/agents.py [NODES:INSTANCES]... [--replicas N] [--store files|postgres|jetstream]        none: 500:5000 1000:10000, one replica, files
       bench/agents.py 5000:50000 10000:100000 --replicas 2                                          the whole sizes: seven minutes and 4 GiB

What each figure is: docs/bench.md. `make bench` measures the small sizes; every step has a bound, so this ends.
"""
import contextlib
import datetime
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True

from figures import Figure, ROOT, commit, table  # noqa: E402
from house import HOMES, Failed  # noqa: E402
from servers import Nats  # noqa: E402
from fleet import SLIPFORM, Background, ControlPlane, Fleet, settled  # noqa: E402 - of tests/system
from platform_world import until  # noqa: E402

sys.path.insert(0, str(ROOT / 'tests/unit'))
from postgres_server import Server  # noqa: E402

NODE_TIMEOUT_S = 15  # of a control plane as it is installed
REST_SAMPLES, REST_S = 6, 5  # a heartbeat of every node in each
STEPS = 8  # agents.c
HEARTBEAT_S = 5
STORES = ('files', 'postgres', 'jetstream')


def say(text):
    print(f'       {text}', flush=True)


def minutes(nodes, instances):
    """A bound for a step on a machine that does other things as well, in seconds."""
    return 120 + nodes // 10 + instances // 50


def percentile_ms(before, after, percent):
    """Of answers to heartbeats between the two: the upper end of the step that it lies in."""
    counts = [n - (before[i] if i < len(before) else 0) for i, n in enumerate(after)]
    left = sum(counts) * percent / 100
    for i, n in enumerate(counts):
        left -= n
        if left <= 0:
            return 2 ** ((i + 1) / STEPS) / 1000
    raise Failed('no heartbeat was answered')


def instant(text):
    return datetime.datetime.fromisoformat(text.split('#')[0].replace('Z', '+00:00')).timestamp()


class Run:
    """One size: numbers by name."""

    def __init__(self, nodes, instances, replicas, event_store):
        self.nodes, self.instances, self.found = nodes, instances, {}
        self.bound_s = minutes(nodes, instances)
        self.ends = contextlib.ExitStack()  # each is done, whatever another one does
        self.world = ControlPlane(replicas=replicas, node_timeout_s=NODE_TIMEOUT_S, event_store=event_store)
        self.ends.callback(self.world.discard)

    def all(self):
        with self.ends:
            self.world.start()
            self.world.populate()
            self.connect()
            image_id = self.world.image()
            background = Background(self.world)
            self.ends.callback(background.end)
            background.start()
            self.raise_instances(image_id)
            self.rest()
            self.come_back()
            self.lose_a_third()
        return self.found

    def connect(self):
        cpu, begun = self.world.cpu_s(), time.monotonic()
        self.fleet = Fleet(self.world, self.nodes, heartbeat_ms=HEARTBEAT_S * 1000)
        self.ends.callback(self.fleet.end)
        until(lambda: self.fleet.sum('joined') == self.nodes and self.fleet.sum('links') == self.fleet.links,
              lambda: f'{self.nodes} nodes have joined: {self.fleet.sum("joined")}, {self.fleet.trouble()}', self.bound_s, 0.2)
        took, used, n = time.monotonic() - begun, self.world.cpu_s() - cpu, self.fleet.sum('handshakes')
        self.found['handshake_ms'] = used * 1000 / n
        say(f'{self.nodes} nodes from {len(self.fleet.all)} processes have joined: {n} handshakes in {took:.0f} s; the control plane used {used:.1f} s of the '
            f'processor for them, {used * 1000 / n:.2f} ms each')

    def raise_instances(self, image_id):
        cpu, begun = self.world.cpu_s(), time.monotonic()
        self.made = self.world.deploy_many(image_id, self.instances)
        settled(self.world, self.fleet, self.instances, self.bound_s)
        took, used = time.monotonic() - begun, self.world.cpu_s() - cpu
        self.found['raise_ms'] = used * 1000 / self.instances
        say(f'{self.instances} instances in {len(self.made)} deployments are healthy after {took:.0f} s: {used:.1f} s of the processor, '
            f'{used * 1000 / self.instances:.2f} ms each; {self.world.refused_n} commands were refused with 503 meanwhile, and said again')
        until(lambda: self.world.statuses().get('live') == len(self.made), lambda: f'all are live: {self.world.statuses()}', self.bound_s, 1)

    def rest(self):
        """Nothing happens but heartbeats and long polls."""
        time.sleep(10)  # what was made just now has settled
        samples, times = [], self.fleet.times()
        agents, lost, begun = self.fleet.cpu_s(), self.fleet.sum('lost_links'), time.monotonic()
        for _ in range(REST_SAMPLES):
            cpu, at = self.world.cpu_s(), time.monotonic()
            time.sleep(REST_S)
            samples.append((self.world.cpu_s() - cpu) / (time.monotonic() - at) / self.nodes * 1000)
        agents = (self.fleet.cpu_s() - agents) / (time.monotonic() - begun)
        time.sleep(1.1)  # they say what they counted once a second
        after = self.fleet.times()
        self.found['rest'] = samples
        self.found['memory_kib'] = self.world.resident_bytes() / 1024 / self.nodes
        self.found['beat_ms'] = [percentile_ms(times, after, 50), percentile_ms(times, after, 99)]
        say(f'at rest: {statistics.median(samples) * self.nodes / 1000:.3f} of a processor (the agents {agents:.2f}), '
            f'{self.world.resident_bytes() >> 20} MiB; a heartbeat is answered within {self.found["beat_ms"][0]:.1f} ms, p99 {self.found["beat_ms"][1]:.0f} ms; '
            f'{self.fleet.sum("lost_links") - lost} connections lost')

    def come_back(self):
        """All replicas are killed and started again. Agents are not held back: whoever wants to connects."""
        seq = int(self.world.operator.get('/readyz').json['seq'])
        handshakes, again = self.fleet.sum('handshakes'), self.fleet.sum('again')
        self.fleet.handshakes(self.fleet.links)
        self.world.restart(self.fleet)
        begun = time.monotonic()
        until(lambda: self.fleet.sum('heard') == self.fleet.ears and self.fleet.sum('links') == self.fleet.links,
              lambda: f'all are heard again: {self.fleet.sum("heard")} of {self.fleet.ears}, {self.fleet.trouble()}', self.bound_s, 0.1)
        took, used = time.monotonic() - begun, self.world.cpu_s()  # of new processes
        handshakes, again = self.fleet.sum('handshakes') - handshakes, self.fleet.sum('again') - again
        beats = self.fleet.sum('beats') + (NODE_TIMEOUT_S // HEARTBEAT_S + 2) * self.fleet.ears
        until(lambda: self.fleet.sum('beats') >= beats, 'heartbeats for longer than a silence that is noticed', self.bound_s, 0.5)
        self.check(set())
        lost, suspected = self.world.lost(seq), self.world.told('SuspectNode', seq)
        if lost or suspected:
            raise Failed(f'{len(lost)} nodes were lost and {len(suspected)} suspected that came back, e.g. {(lost + suspected)[:3]}')
        self.found['back_s'] = took
        self.found['back_ms'] = used * 1000 / self.fleet.links
        say(f'all replicas are killed and started, all agents come back: heard by each after {took:.1f} s, nobody lost or suspected; {used:.1f} s of the processor, '
            f'{used * 1000 / self.fleet.links:.2f} ms a connection; {handshakes} handshakes for {self.fleet.links} connections, {again} errors told to agents')

    def lose_a_third(self):
        seq = int(self.world.operator.get('/readyz').json['seq'])
        gone = len(self.fleet.vanished())
        cpu, begun, at = self.world.cpu_s(), time.monotonic(), time.time()
        self.fleet.vanish_third()
        until(lambda: self.fleet.sum('vanished') == gone, 'a third is silent', 60, 0.1)
        lost = self.instances - self.fleet.sum('healthy')
        settled(self.world, self.fleet, self.instances, self.bound_s)
        took, used = time.monotonic() - begun, self.world.cpu_s() - cpu
        self.check(self.fleet.vanished())
        self.found['converge_s'] = took
        self.found['replace_ms'] = used * 1000 / lost
        times = self.milestones(seq, at)
        self.found['lost_to_healthy_s'] = took - times['first lost']
        say(f'{gone} nodes with {lost} instances vanish: all replaced and healthy after {took:.1f} s, {used:.1f} s of the processor, {used * 1000 / lost:.2f} ms each; '
            + ', '.join(f'{what} {s:.1f} s' for what, s in times.items()))

    def milestones(self, seq, at):
        """Seconds since they vanished, by the log's own times."""
        said = {}
        for kind in ('SuspectNode', 'NodeStatusChange', 'CreateInstance'):
            said[kind] = [instant(e['time']) - at for e in self.world.told(kind, seq) if kind != 'NodeStatusChange' or e['payload']['status'] == 'lost']
            if not said[kind]:
                raise Failed(f'no {kind} in the log')
        return {'first suspected': min(said['SuspectNode']), 'last suspected': max(said['SuspectNode']), 'first lost': min(said['NodeStatusChange']),
                'last lost': max(said['NodeStatusChange']), 'first replaced': min(said['CreateInstance']), 'last replaced': max(said['CreateInstance'])}

    def check(self, vanished):
        """What the API says: as many as asked for run, none of them where nobody reports."""
        healthy = self.world.healthy()
        if len(healthy) != self.instances:
            raise Failed(f'{len(healthy)} instances are healthy, {self.instances} are wanted')
        if vanished & set(healthy.values()):
            raise Failed(f'instances are said to run on {sorted(vanished & set(healthy.values()))[:5]}, which are silent')


def create(spec):
    """A log; what it is to be opened by."""
    done = subprocess.run([SLIPFORM, 'eventlog', 'create', spec], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Failed(done.stderr)


@contextlib.contextmanager
def log_of(store):
    """Where the log is, in a store of this bench's own."""
    if store == 'postgres':
        with Server(HOMES) as server:
            create(server.owner_spec('platform'))
            yield server.spec('platform')
    elif store == 'jetstream':
        with Nats(3) as servers:
            create(servers.spec('platform'))
            yield servers.spec('platform')
    else:
        yield None


def measure(sizes, replicas=1, store='files'):
    """Figures of each size; of all but the first the ratio to the first: 1 where the cost of a node does not rise with their number."""
    runs = []
    for nodes, instances in sizes:
        with log_of(store) as event_store:
            runs.append(((nodes, instances), Run(nodes, instances, replicas, event_store).all()))
    figures, (first, of_first) = [], runs[0]
    how = f'{replicas} replica{"s" if replicas > 1 else ""}' + ('' if store == 'files' else f', {store}')
    for (nodes, instances), found in runs:
        def row(name, unit, member):
            def samples(of):
                return of[member] if isinstance(of[member], list) else [of[member]]
            is_first = found is of_first
            figures.append(Figure(f'agents: {name}, {nodes} nodes, {instances} instances, {how}', unit, samples(found), None if is_first else f'{first[0]} nodes',
                                  None if is_first else samples(of_first)))
        row('processor at rest for 1,000 nodes', 's/s', 'rest')
        row('memory for a node', 'KiB', 'memory_kib')
        row('heartbeat to its answer', 'ms', 'beat_ms')
        row('processor for a handshake and join', 'ms', 'handshake_ms')
        row('processor for an instance, deployed to healthy', 'ms', 'raise_ms')
        row('all replicas restart: every node is heard by each again', 's', 'back_s')
        row('all replicas restart: processor for a connection', 'ms', 'back_ms')
        row('a third vanishes: all healthy again', 's', 'converge_s')
        row('a third vanishes: first lost to all healthy', 's', 'lost_to_healthy_s')
        row('processor for an instance that is replaced', 'ms', 'replace_ms')
    return figures


def main():
    sizes, options, words = [], {'--replicas': '1', '--store': 'files'}, sys.argv[1:]
    while words:
        word = words.pop(0)
        nodes, _, instances = word.partition(':')
        if word in options and words:
            options[word] = words.pop(0)
        elif nodes.isdigit() and instances.isdigit():
            sizes.append((int(nodes), int(instances)))
        else:
            sys.exit(__doc__)
    replicas, store = int(options['--replicas']), options['--store']
    if store not in STORES:
        sys.exit(__doc__)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda which, _: sys.exit(128 + which))  # nothing is left behind
    of_commit = commit()
    figures = measure(sizes or SMALL, replicas, store)
    print(table([figure.row(of_commit) for figure in figures]))


SMALL = [(500, 5000), (1000, 10000)]
QUICK = [(100, 1000), (200, 2000)]

if __name__ == '__main__':
    main()
