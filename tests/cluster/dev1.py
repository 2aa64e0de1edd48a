"""dev-1 as tests of a cluster see it: the CLI, the edges of its operators, and the servers of others beside them."""
import contextlib
import http.client
import ipaddress
import json
import os
import pathlib
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'system'))
from installation import ROOT, Edge, Failed, Installation, is_alive, until, words_of  # noqa: E402

OPERATORS = ['op1', 'op2', 'op3']


class OperatorEdge(Edge):
    """The edge of an operator, by its address on the fabric."""

    def __init__(self, address, *rest):
        super().__init__(*rest)
        self.address = address

    def connect(self, timeout=20):
        raw = socket.create_connection((self.address, self.port), timeout=timeout)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        connection.sock = self.context.wrap_socket(raw, server_hostname=self.host)
        return connection


def state_of(pid):
    return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]


def metric(url, name):
    text = urllib.request.urlopen(f'{url}/metrics', timeout=10).read().decode()  # on the loopback of the program's own host
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + ' ')), None)


class PublicApi:
    """The public API of each operator, as the operator of the installation."""

    def __init__(self, status):
        port = urllib.parse.urlsplit(status['endpoints']['public_api']).port
        self.hosts = {r['node']: (urllib.parse.urlsplit(r['url']).hostname, port) for r in status['replicas']}
        self.token = pathlib.Path(status['token_file']).read_text().strip()
        self.context = ssl.create_default_context(cafile=status['ca_file'])
        self.context.check_hostname = False  # addresses of the fabric

    def ask(self, operator, method, path, body=None, timeout=30):
        """(status, document) of that operator's API."""
        connection = http.client.HTTPSConnection(*self.hosts[operator], timeout=timeout, context=self.context)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {'Authorization': f'Bearer {self.token}', 'Content-Type': 'application/json'})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or '{}')
        finally:
            connection.close()


class Commands:
    """Projects that are made without end, at each of those operators in turn; who is refused asks the next one, as the CLI does."""

    def __init__(self, house, operators=OPERATORS, name='made', timeout=30, pause=0):
        self.api, self.operators, self.name, self.timeout, self.pause = house.public_api(), operators, name, timeout, pause
        self.made, self.refused, self.stopping = [], [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        n = asked = 0
        while not self.stopping.is_set():
            asked += 1
            try:
                status = self.api.ask(self.operators[asked % len(self.operators)], 'POST', '/v1/projects', {'name': f'{self.name}-{n}'}, self.timeout)[0]
            except OSError as why:
                status = repr(why)
            if status in (201, 409):  # 409: an answer was lost, it is there
                self.made.append((f'{self.name}-{n}', time.monotonic()))
                n += 1
                self.stopping.wait(self.pause)
            else:
                self.refused.append(status)
                self.stopping.wait(max(0.02, self.pause))

    def __enter__(self):
        self.thread.start()
        until(lambda: len(self.made) > 10 or print(self.refused[-3:]), what='projects are made')
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


class Dev1(Installation):
    def __init__(self, store=None):
        super().__init__()
        self.store = store

    def up(self, **options):
        """The store is named the first time only: the home remembers."""
        if self.store and not os.path.exists(f'{self.home}/installation.json'):
            options['env'] = {**self.env, 'SLIPFORM_STORE': self.store}
        check = options.pop('check', True)
        done = self.run('up', '--tower', 'dev-1', timeout=400, check=False, **options)
        if 'not healthy in time' in done.stderr:  # a busy machine boots a probe guest slowly; the same command goes on
            done = self.run('up', '--tower', 'dev-1', timeout=400, check=False, **options)
        if check and done.returncode != 0:
            raise Failed(f'slipform up: exit code {done.returncode}\n{done.stdout}\n{done.stderr}')
        return done

    def run(self, *words, env=None, **options):
        before, self.env = self.env, env or self.env
        try:
            return super().run(*words, **options)
        finally:
            self.env = before

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

    def public_api(self):
        return PublicApi(self.json('status'))

    def supervised(self):
        """Agents by their node, services as 'store:' and a name; '' is the supervisor itself."""
        state = json.loads(pathlib.Path(self.home, 'run/supervise.json').read_text())
        return {'': {'pid': state['pid'], 'restarts': 0}, **{a['name']: a for a in state['agents']}}

    def agent_pid(self, node):
        return self.supervised()[node]['pid']

    @contextlib.contextmanager
    def standing_still(self, operator, but=()):
        """Its node-agent (which would start anew what hangs) and its programs, with their children, do nothing for a while."""
        pids = [self.agent_pid(operator), *(p['pid'] for p in self.programs_of(operator) if p['name'] not in (*but, 'node-agent'))]
        for pid in pids:  # parents before children, so that nobody has another one
            pids += [int(child) for child in words_of('ps', '-o', 'pid=', '--ppid', str(pid)).split() if int(child) not in pids and pid != pids[0]]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
            assert all(state_of(pid) == 'T' for pid in pids), 'somebody ended or started what stood still'
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def service(self, name):
        return next(s for s in self.json('status')['services'] if s['name'] == name)

    def service_pid(self, name):
        return self.supervised()[f'store:{name}']['pid']

    def kill_service(self, name):
        """By SIGKILL, and until the supervisor has started it again and it is well."""
        pid = self.service_pid(name)
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.service_pid(name) not in (0, pid) and self.service(name)['status'] == 'well', 60, f'{name} is back')

    @contextlib.contextmanager
    def frozen(self, *names):
        """Services that do nothing for a while, and are not started again either."""
        pids = [self.service_pid(name) for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def healthy(self, seconds=120):
        def look():
            problems = self.json('status')['problems']
            if problems:
                raise Failed(json.dumps(problems))
            return True
        return until(look, seconds, 'all is well')

    def deploy_detached(self, project='hello'):
        done = self.run('deploy', ROOT / 'examples/hello', '--project', project, '--drain-seconds', 1, '--detach', '--json')
        return json.loads(done.stdout)['deployment_id']

    def serves(self, deployment_id, operators=OPERATORS, project='hello', seconds=60):
        """The edges of those operators lead to that deployment and to no other one."""
        for operator in operators:
            edge = self.operator_edge(operator, f'{project}.localhost')
            until(lambda e=edge: e.who()['deployment_id'] == deployment_id, seconds, f'the new one at the edge of {operator}')

    def deploy_beside_a_loss(self, project):
        """Of hello. A build that was given to the operator that nobody has missed yet is tried elsewhere once it is missed."""
        return self.deploy(ROOT / 'examples/hello', project, '--drain-seconds', 1)

    def goes_live(self, operators=OPERATORS, project='hello'):
        """Another deployment of it: built, placed, started, led to by the edges, the old one gone."""
        deployment = self.deploy(ROOT / 'examples/hello', project, '--drain-seconds', 1)
        assert deployment['status'] == 'live'
        self.serves(deployment['deployment_id'], operators, project)


def kill_programs(house, name):
    """Every instance of that program of the bootstrap log; their agents start them again."""
    pids = [p['pid'] for p in house.json('status')['programs'] if p['name'] == name and p['pid']]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in pids), what=f'every {name} has ended')
    return len(pids)


def nothing_twice(house):
    """No event says again what one before it has said: all of the log."""
    events = house.json('events')
    assert len({e['id'] for e in events}) == len(events) > 0
    for kind, members in (('CreateInstance', ['instanceId']), ('DeleteInstance', ['instanceId']), ('CreateImage', ['imageId']), ('CreateProject', ['projectId']),
                          ('IssueCertificate', ['host', 'notBefore']), ('RouteDeployment', ['projectId', 'deploymentId']),
                          ('DeploymentStatusChange', ['deploymentId', 'status', 'cause'])):
        said = [tuple(json.dumps(e['payload'].get(m)) for m in members) for e in events if e['type'] == kind]
        assert len(said) == len(set(said)), [s for s in said if said.count(s) > 1]
    return events


def waiting(api, operator):
    """Addresses in the waitlist as that operator's replica opens them."""
    status, answer = api.ask(operator, 'GET', '/v1/waitlist')
    if status != 200:
        raise Failed(f'the waitlist of {operator}: {status} {answer}')
    return sorted(place['email'] for place in answer['items'])


def sealed_values_outlive_rotation_and_restart(house, operator, folder):
    """People join, keys are rotated, one person is erased, the programs of that operator are killed: who stays is read through every operator and in a copy, who
    was erased through none."""
    api, tag = house.public_api(), os.urandom(4).hex()
    ada, bob, eve = (f'{name}.{tag}@example.org' for name in ('ada', 'bob', 'eve'))
    ours = lambda o: [email for email in waiting(api, o) if tag in email]

    def join(email, through):
        assert api.ask(through, 'POST', '/v1/waitlist', {'email': email})[0] == 202
    for email, through in ((ada, 'op1'), (bob, 'op2')):
        join(email, through)
    for o in OPERATORS:
        until(lambda o=o: ours(o) == [ada, bob], 30, f'{o} opens both')
    old = next(k['key_id'] for k in house.json('seal') if k['is'] == 'current')
    rotated = house.json('seal', 'rotate')
    assert rotated['wrapped'] >= 2 and rotated['current'] != old
    join(eve, 'op3')  # by a program that runs since before: under the new key, or wrapped anew by its next look
    for o in OPERATORS:
        until(lambda o=o: ours(o) == [ada, bob, eve], 30, f'{o} opens all')
    done = house.run('erase', '-', input=bob + '\n')
    assert 'is erased' in done.stdout
    for o in OPERATORS:
        until(lambda o=o: ours(o) == [ada, eve], 30, f'{o} knows nobody of that name')
    killed = [p for p in house.programs_of(operator) if p['name'] in ('management-api', 'public-api')]
    for program in killed:
        os.kill(program['pid'], signal.SIGKILL)
    until(lambda: not any(is_alive(p['pid']) for p in killed), what='they have ended')
    until(lambda: house.replicas()[operator]['status'] == 'live' and ours(operator) == [ada, eve], 120, 'who is started anew opens the same')
    assert house.json('seal', 'rotate')['wrapped'] >= 2
    keys = {k['key_id']: k for k in house.json('seal')}
    assert old not in keys or keys[old]['wraps'] == 0
    for o in OPERATORS:
        until(lambda o=o: ours(o) == [ada, eve], 30, f'{o} opens who is left')
    house.run('eventlog', 'copy', house.json('status')['logs'][0]['path'], folder, '--keys')
    files = [f for top in (folder, pathlib.Path(house.home, 'log'), pathlib.Path(house.home, 'nodes')) for f in pathlib.Path(top).rglob('*')]
    assert any(f.is_file() for f in files)
    for f in files:
        if f.is_file() and not f.is_symlink() and f.stat().st_size < 64 << 20:
            data = f.read_bytes()
            assert not any(email.encode() in data for email in (ada, bob, eve)), f'{f} has an address in clear'
