"""A control plane of its own - the real `platform`, one or several replicas over one log - and many simulated node-agents (bench/agents.c) that
speak to it over real mTLS. For test_agents.py and bench/agents.py."""
import contextlib
import http.client
import json
import os
import pathlib
import subprocess
import threading
import time

from platform_world import INSTALLATION, PROGRAM, Client, Node, Program, World, until

AGENTS = PROGRAM.parent / 'bench/bench-agents'
SLIPFORM = PROGRAM.parent / 'slipform'
# Of 20,000 descriptors; the rest is for files and for who comes while another one leaves.
LINKS_MAX = 19000
PER_DEPLOYMENT = 100  # instances_max
TICKS = os.sysconf('SC_CLK_TCK')


def cpu_s(pid):
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid):
    line = next(line for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines() if line.startswith('VmRSS:'))
    return int(line.split()[1]) * 1024


class Agents:
    """One process of them. `said` is what it last wrote about itself."""

    def __init__(self, settings):
        self.said, self.is_over = {}, False
        self.process = subprocess.Popen([AGENTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        self.process.stdin.write(json.dumps(settings) + '\n')
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.said = json.loads(line)
        self.is_over = True

    def command(self, line):
        self.process.stdin.write(line + '\n')

    def end(self):
        """Its exit code: it ends when nobody commands it any more."""
        try:
            self.process.stdin.close()
            return self.process.wait(120)
        except BrokenPipeError:  # it has ended
            return self.process.wait(120)
        finally:
            self.process.kill()
            self.process.wait()


class Fleet:
    """Node-agents in as many processes as the limit of descriptors asks for."""

    def __init__(self, world, nodes, heartbeat_ms=5000, poll_s=30, handshakes=8):
        replicas = len(world.replicas)
        each = LINKS_MAX // (replicas + 1)
        processes = -(-nodes // each)
        each = -(-nodes // processes)
        self.nodes, self.world = nodes, world
        self.links = nodes * (replicas + 1)
        self.ears = nodes * replicas  # a node has to be heard by each
        self.all = [Agents({'installation': INSTALLATION, 'region': 'here', 'ca_file': str(world.ca.cert), 'ca_key_file': str(world.ca.key),
                            'source': f'127.0.1.{number + 1}', 'apis': [f'127.0.0.1:{p.port}' for p in world.replicas], 'zones': list('abc'),
                            'first': 1 + number * each, 'nodes': min(each, nodes - number * each), 'heartbeat_ms': heartbeat_ms, 'poll_s': poll_s,
                            'handshakes': handshakes}) for number in range(processes)]

    def sum(self, name):
        for agents in self.all:
            assert not agents.is_over, f'a process of simulated agents ended: {agents.process.stderr.read()[-2000:]}'
        return sum(agents.said.get(name, 0) for agents in self.all)

    def times(self):
        """How many heartbeats were answered within 2 ** (i / 8) us."""
        lists = [agents.said.get('times', []) for agents in self.all]
        return [sum(times[i] for times in lists if i < len(times)) for i in range(max(map(len, lists)))]

    def trouble(self):
        return [agents.said.get('trouble') for agents in self.all]

    def cpu_s(self):
        return sum(cpu_s(agents.process.pid) for agents in self.all)

    def vanish_third(self):
        for agents in self.all:
            agents.command('vanish 3 0')

    def vanished(self):
        return {f'sim-{number}' for number in range(3, self.nodes + 1, 3)}

    def handshakes(self, n):
        """From now on so many of each process are under way at a time."""
        for agents in self.all:
            agents.command(f'handshakes {n}')

    def end(self):
        codes = []
        with contextlib.ExitStack() as each:  # whatever one of them does
            for agents in self.all:
                each.callback(lambda agents=agents: codes.append(agents.end()))
        assert not any(codes), [agents.process.stderr.read()[-2000:] for agents in self.all]


class Kept:
    """JSON over one kept connection: thousands of commands."""

    def __init__(self, client):
        self.client, self.http, self.refused_n = client, client.connection(60), 0

    def ok(self, method, path, body=None):
        for _ in range(60):  # 503 asks to come again: a replica that does not see the log's end for a while
            self.http.request(method, path, None if body is None else json.dumps(body),
                              {'Authorization': f'Bearer {self.client.token}', 'Content-Type': 'application/json'})
            answer = self.http.getresponse()
            text = answer.read()
            if answer.status != 503:
                break
            self.refused_n += 1
            time.sleep(1)
        assert answer.status < 300, f'{method} {path}: {answer.status} {text[:500]}'
        return json.loads(text)


class ControlPlane(World):
    """Replicas that do everything but certificates of hosts: nobody is led to what runs here."""

    def __init__(self, replicas=1, node_timeout_s=15, event_store=None, **tuning):
        super().__init__(needs_certificate=0, **tuning)
        figures = self.management.settings['tuning']
        self.replicas = [Program(self, f'replica-{i}', ['management-api', 'public-api', 'planner', 'watchdog'], figures) for i in range(1, replicas + 1)]
        for program in self.replicas:
            program.settings.update(node_timeout_seconds=node_timeout_s, state_dir=str(self.folder / program.name),
                                    certificates_folder=str(self.folder / 'certificates'), ca_key_file=str(self.ca.key))
            if event_store:
                program.settings['event_store'] = event_store
            (self.folder / program.name).mkdir()
        self.management = self.public = self.replicas[0]
        self.others = self.replicas[1:]

    def discard(self):
        for program in self.replicas:
            if program.process and program.process.poll() is None:
                program.kill()
        said = {program.name: (self.folder / f'{program.name}.log').read_text() for program in self.replicas if program.process}
        super().discard()
        for name, text in said.items():
            assert 'Sanitizer' not in text and 'runtime error' not in text, f'{name}: {text[-4000:]}'

    def start(self):
        for program in self.replicas:
            program.start()
        self.operator, self.user = self.client(), self.client()

    def restart(self, fleet):
        """All replicas die at once, no agent has a connection any more, all replicas start at once."""
        for program in self.replicas:
            program.process.kill()
        for program in self.replicas:
            program.process.wait()
        until(lambda: fleet.sum('links') == fleet.sum('heard') == 0, 'nobody is heard any more')
        for program in self.replicas:
            program.launch()

    def client(self):
        return Client(self, self.management.port, token=self.token)

    def event_store(self):
        return self.management.settings['event_store']

    def cpu_s(self):
        return sum(cpu_s(program.process.pid) for program in self.replicas)

    def resident_bytes(self):
        return sum(resident_bytes(program.process.pid) for program in self.replicas)

    def populate(self):
        """Places, and one node of the test's own, which builds the image; it goes on reporting in a thread."""
        self.operator.ok('POST', '/v1/regions', {'name': 'here'}, 201)
        for zone in 'abc':
            self.operator.ok('POST', '/v1/zones', {'region': 'here', 'name': zone}, 201)
        self.nodes = [Node(self, 'operator-1', 'a', ['control'], 1)]
        self.nodes[0].join()
        self.agree()  # who has not folded that yet would refuse its first report
        self.step()

    def image(self):
        """Built once: its id. The deployment that asked for it is stopped."""
        project = self.user.ok('POST', '/v1/projects', {'name': 'first'}, 201).json
        made = self.deploy(project['project_id']).json['deployment_id']
        self.until(lambda: self.deployment(made).get('builder_instance_id'), 'a builder is placed')
        image_id, _ = self.build(made)
        self.user.ok('PUT', f'/v1/deployments/{made}/status', {'status': 'cancelled'})
        return image_id

    def deploy_many(self, image_id, instances):
        """Deployments of at most 100 instances each, a project for each: their ids."""
        kept, made = Kept(self.user), []
        while instances > 0:
            n = min(PER_DEPLOYMENT, instances)
            project = kept.ok('POST', '/v1/projects', {'name': f'p-{len(made)}'})['project_id']
            made.append(kept.ok('POST', '/v1/deployments', {'project_id': project, 'image_id': image_id, 'instances': n, 'drain_seconds': 0})['deployment_id'])
            instances -= n
        self.refused_n = kept.refused_n
        return made

    def statuses(self, what='/v1/deployments', member='status'):
        """How many of them there are of each, page by page."""
        kept, found, after = Kept(self.user), {}, ''
        while True:
            page = kept.ok('GET', f'{what}?limit=1000{after}')
            for item in page['items']:
                found[item[member]] = found.get(item[member], 0) + 1
            if 'next' not in page:
                return found
            after = f'&after={page["next"]}'

    def agree(self):
        """Every replica has folded what any of them has answered so far: they look at the log five times a second."""
        def seq(program):
            return int(Client(self, program.port, token=self.token).get('/readyz').json['seq'])
        newest = max(seq(program) for program in self.replicas)
        until(lambda: all(seq(program) >= newest for program in self.replicas), f'every replica has folded {newest}')

    def instances(self):
        """All of them, page by page."""
        self.agree()
        kept, after = Kept(self.operator), ''
        while True:
            page = kept.ok('GET', f'/v1/instances?limit=500{after}')
            yield from page['items']
            if 'next' not in page:
                return
            after = f'&after={page["next"]}'

    def healthy(self):
        """Instances on simulated nodes that run and are NOMINAL, with the name of their node. (A builder is on the test's own.)"""
        return {i['instance_id']: i['node'] for i in self.instances()
                if i['status'] == 'running' and i.get('health') == 'NOMINAL' and i['node'].startswith('sim-')}

    def lost(self, after):
        """Names of nodes that were lost after that position, with the time and the cause."""
        return [(e['time'], e['payload']['nodeId'], e['payload']['cause']) for e in self.told('NodeStatusChange', after) if e['payload']['status'] == 'lost']

    def told(self, kind, after=0):
        """Events of one kind, straight from the store."""
        done = subprocess.run([SLIPFORM, 'eventlog', 'cat', self.event_store(), '--type', kind, '--from', str(after + 1), '--json'], capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Background(threading.Thread):
    """The test's own node goes on reporting."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.is_over = world, threading.Event()

    def run(self):
        while not self.is_over.wait(1):
            try:
                self.world.step()
            except (OSError, AssertionError, http.client.HTTPException):
                pass  # the control plane has more to do than it can; the next turn says it again

    def end(self):
        self.is_over.set()
        self.join(60)


def settled(world, fleet, instances, seconds):
    """All of them run and are told healthy: how long it took."""
    begun = time.monotonic()
    until(lambda: fleet.sum('healthy') == fleet.sum('instances') == instances and fleet.sum('untold') == 0,
          lambda: f'{instances} instances are healthy; {fleet.sum("healthy")} of {fleet.sum("instances")} are, {fleet.trouble()}', seconds, 0.2)
    return time.monotonic() - begun
