"""dev-1 as tests of a cluster see it: the CLI, the edges of its operators, and the servers of others beside them."""
import contextlib
import ipaddress
import json
import os
import pathlib
import signal
import socket
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'system'))
from installation import ROOT, Edge, Failed, Installation, is_alive, until  # noqa: E402

OPERATORS = ['op1', 'op2', 'op3']


class OperatorEdge(Edge):
    """The edge of an operator, by its address on the fabric."""

    def __init__(self, address, *rest):
        super().__init__(*rest)
        self.address = address

    def connect(self, timeout=20):
        import http.client
        raw = socket.create_connection((self.address, self.port), timeout=timeout)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        connection.sock = self.context.wrap_socket(raw, server_hostname=self.host)
        return connection


def metric(url, name):
    text = urllib.request.urlopen(f'{url}/metrics', timeout=10).read().decode()  # on the loopback of the program's own host
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + ' ')), None)


class Dev1(Installation):
    def __init__(self, store=None):
        super().__init__()
        self.store = store

    def up(self, **options):
        """The store is named the first time only: the home remembers."""
        if self.store and not os.path.exists(f'{self.home}/installation.json'):
            options['env'] = {**self.env, 'SLIPFORM_STORE': self.store}
        return self.run('up', '--tower', 'dev-1', timeout=400, **options)

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

    def service(self, name):
        return next(s for s in self.json('status')['services'] if s['name'] == name)

    def service_pid(self, name):
        state = json.loads(pathlib.Path(self.home, 'run/supervise.json').read_text())
        return next(a['pid'] for a in state['agents'] if a['name'] == f'store:{name}')

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
        """Of hello. A build may have been given to the operator that nobody has missed yet: it fails with that word, and is asked for again."""
        try:
            return self.deploy(ROOT / 'examples/hello', project, '--drain-seconds', 1)
        except Failed as failed:
            if 'is lost: deploy again' not in str(failed):
                raise
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
