"""The middle of the house alone: the real `platform` program, twice (management and public), on one temporary log, with a CA made
by openssl. The test plays everybody else - node-agents, edge, builder, operator - over real mTLS."""
import hashlib
import http.client
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tarfile
import tempfile
import time
import uuid

from patience import PATIENCE_S

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get('SLIPFORM_BUILD', ROOT / 'build')) / 'platform'
INSTALLATION = 'test-0'
# A node is waited for, and a lease lasts, so long; a silent edge is waited for so long: the nodes and edges of these tests are one Python program,
# which on a busy machine is late by seconds.
NODE_TIMEOUT_S = 6
EDGE_LIVE_S = 5


def until(check, what, seconds=PATIENCE_S, pause=0.05):
    """The first true answer of check(), asked again and again; fails with `what` (or what it says) after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < end, f'not within {seconds} s: {what() if callable(what) else what}'
        time.sleep(pause)


def openssl(*words):
    subprocess.run(['openssl', *map(str, words)], check=True, capture_output=True)


class Authority:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.cert, self.key = self.folder / 'ca.pem', self.folder / 'ca.key'
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', self.key, '-out', self.cert,
                '-days', '30', '-subj', '/CN=test CA', '-addext', 'basicConstraints=critical,CA:TRUE,pathlen:0',
                '-addext', 'keyUsage=critical,keyCertSign,cRLSign')

    def issue(self, role, name, installation=INSTALLATION, days=30, purpose='serverAuth,clientAuth'):
        """Paths of certificate and key of slipform://installation/role/name. Days below 0: expired."""
        base = self.folder / f'{installation}-{role}-{name}{"" if days == 30 else days}{"" if "client" in purpose else purpose}'
        cert, key, request, extensions = (base.with_suffix(s) for s in ('.pem', '.key', '.csr', '.ext'))
        if not cert.exists():
            extensions.write_text(f'subjectAltName=URI:slipform://{installation}/{role}/{name},IP:127.0.0.1,DNS:localhost\n'
                                  f'extendedKeyUsage={purpose}\nkeyUsage=critical,digitalSignature\n')
            openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', request, '-subj', f'/CN={name}')
            openssl('x509', '-req', '-in', request, '-CA', self.cert, '-CAkey', self.key, '-CAcreateserial', '-days', str(days), '-extfile', extensions,
                    '-out', cert)
        return cert, key


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f'{self.status} {self.body[:2000]!r}'


class Client:
    """One caller of one API: by certificate, by token, or nobody."""

    def __init__(self, world, port, cert=None, token=None):
        self.port, self.token, self.world = port, token, world
        self.tls = ssl.create_default_context(cafile=world.ca.cert)
        if cert:
            self.tls.load_cert_chain(*cert)

    def connection(self, timeout=PATIENCE_S):
        return http.client.HTTPSConnection('127.0.0.1', self.port, context=self.tls, timeout=timeout)

    def open(self, method, path, body=None, headers=None, timeout=PATIENCE_S):
        headers = dict(headers or {})
        if self.token:
            headers['Authorization'] = f'Bearer {self.token}'
        if isinstance(body, (dict, list)):
            body, headers['Content-Type'] = json.dumps(body), headers.get('Content-Type', 'application/json')
        connection = self.connection(timeout)
        connection.request(method, path, body, headers)
        return connection, connection.getresponse()

    def ask(self, method, path, body=None, headers=None, timeout=PATIENCE_S):
        connection, response = self.open(method, path, body, headers, timeout)
        try:
            return Answer(response, response.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.ask('GET', path, **options)

    def ok(self, method, path, body=None, status=None, **options):
        answer = self.ask(method, path, body, **options)
        assert answer.status == (status or answer.status) and answer.status < 300, f'{method} {path}: {answer}'
        return answer

    def items(self, path, **options):
        return self.ok('GET', path, **options).json['items']

    def events(self):
        """All of the platform's log, page by page."""
        found = []
        while page := self.items(f'/v1/events?limit=1000&after={found[-1]["seq"] if found else 0}'):
            found += page
        return found


class Program:
    """`platform` with some workloads; can be killed and started again on its port."""

    def __init__(self, world, name, workloads, tuning):
        self.world, self.name, self.process = world, name, None
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        cert, key = world.ca.issue('control', name)
        self.config = world.folder / f'{name}.yaml'
        self.settings = {
            'installation': INSTALLATION, 'instance_id': name, 'ca_file': str(world.ca.cert), 'cert_file': str(cert), 'key_file': str(key),
            'workloads': workloads, 'listen': [f'127.0.0.1:{self.port}'], 'event_store': f'files;path={world.folder}/log', 'event_store_create': True,
            'blobs': f'folder;path={world.folder}/blobs', 'logs_folder': str(world.folder / 'logs'), 'streams_folder': str(world.folder / 'streams'), 'statistics_folder': str(world.folder / 'statistics'),
            'token_hash_file': str(world.folder / 'tokens'), 'seal_key_file': str(world.folder / 'seal.key'), 'edge_https_port': 8443, 'node_timeout_seconds': NODE_TIMEOUT_S, 'tuning': tuning,
        }
        if 'certificates' in workloads:
            self.settings.update(dns_server=f'127.0.0.1:{world.dns_port}', certificates_folder=str(world.folder / 'certificates'), ca_key_file=str(world.ca.key))

    def launch(self):
        self.config.write_text(json.dumps(self.settings))
        self.log = open(self.world.folder / f'{self.name}.log', 'ab')
        self.process = subprocess.Popen([PROGRAM, '--config', self.config], stdout=self.log, stderr=self.log)

    def start(self):
        self.launch()
        until(self.is_ready, f'{self.name} is ready; its log: {self.log.name}')

    def is_ready(self):
        assert self.process.poll() is None, f'{self.name} ended: {pathlib.Path(self.log.name).read_text()[-2000:]}'
        try:
            return Client(self.world, self.port).get('/readyz').status == 200
        except OSError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Its exit code after SIGTERM."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE_S)


class Node:
    """A node-agent that does at once what it is asked for; `trouble` maps an instance id to what it reports instead."""

    def __init__(self, world, name, zone, labels, index):
        self.world, self.name, self.id = world, name, str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.cert = world.ca.issue('node', name)
        self.join_body = {'node_id': self.id, 'name': name, 'zone': zone, 'region': 'here', 'labels': labels, 'agent_url': f'https://{name}:1',
                          'prefix': f'fd00:0:0:{index}::/64' if 'worker' in labels else ''}
        self.boot, self.seq, self.cursor = str(uuid.uuid4()), 0, ''
        self.instances, self.reported, self.trouble, self.umbilical = {}, {}, {}, {}
        self.hears_nothing = False
        self.deaf_to = None  # a program that gets no report of it

    @property
    def client(self):
        return Client(self.world, self.world.management.port, self.cert)

    def next_seq(self):
        self.seq += 1
        return self.seq

    def join(self):
        return self.client.ok('POST', '/v1/nodes', self.join_body)

    def heartbeat(self, program=None):
        client = Client(self.world, program.port, self.cert) if program else self.client
        return client.ok('PUT', f'/v1/nodes/{self.id}/status', {
            'boot_id': self.boot, 'report_seq': self.next_seq(), 'status': 'ready', 'cursor': self.cursor, 'runtimes': ['qemu', 'host'],
            'capacity': {'vcpus': 4, 'memory_bytes': 8 << 30, 'disk_bytes': 100 << 30},
            'preflight': [{'check': 'kvm', 'ok': False, 'detail': 'not tried', 'hint': 'this is a test'}],
            'instances': [{'instance_id': i, 'status': s, 'health': h, 'statistics': {'pid': 1, 'memory_bytes': 1 << 20},
                           **({'umbilical': self.umbilical[i]} if i in self.umbilical else {})}
                          for i, (s, h) in self.reported.items() if s]})

    def report(self, instance_id, observed, health='', cause=''):
        self.reported[instance_id] = (observed, health)
        return self.client.ask('PUT', f'/v1/instances/{instance_id}/state', {
            'observed': observed, 'health': health, 'cause': cause, 'boot_id': self.boot, 'report_seq': self.next_seq(),
            'statistics': {'pid': 4711, 'runtime': 'qemu', 'memory_bytes': 126 << 20}})

    def pull(self, wait=0):
        """Follow what it is asked for."""
        answer = self.client.ok('GET', f'/v1/instances?node_id={self.id}&cursor={self.cursor}&wait={wait}').json
        if answer['full']:
            self.instances = {}
        for item in answer['items']:
            self.instances[item['instance_id']] = item
        for gone in answer['removed']:
            self.instances.pop(gone, None)
            self.reported.pop(gone, None)
        self.cursor = answer['cursor']
        return answer

    def step(self):
        if self.hears_nothing:
            return
        for program in self.world.others:
            self.heartbeat(program)
        if self.deaf_to is self.world.management:
            return
        self.heartbeat()
        self.pull()
        for instance_id, item in list(self.instances.items()):
            wanted = self.trouble.get(instance_id) or (('stopped', '') if item['spec']['desired'] == 'stopped' else ('running', 'NOMINAL'))
            if self.reported.get(instance_id) != wanted:
                if wanted[0] == 'running' and instance_id not in self.reported:
                    self.report(instance_id, 'starting')
                self.report(instance_id, *wanted)


class Edge:
    def __init__(self, world, name):
        self.world, self.cert, self.cursor, self.routes = world, world.ca.issue('edge', name), '', {}
        self.confirmed, self.confirms = '', True

    @property
    def client(self):
        return Client(self.world, self.world.management.port, self.cert)

    def step(self, wait=0):
        answer = self.client.ok('GET', f'/v1/routes?cursor={self.cursor}&confirmed={self.confirmed}&wait={wait}').json
        if answer['full']:
            self.routes = {}
        for item in answer['items']:
            self.routes[item['route_id']] = item
        for gone in answer['removed']:
            self.routes.pop(gone, None)
        self.cursor = answer['cursor']
        if self.confirms:
            self.confirmed = self.cursor
        return answer


class World:
    def __init__(self, **tuning):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='slipform-api-', dir='/var/tmp'))
        self.ca = Authority(self.folder / 'ca')
        self.token = 'slip_' + 'A' * 43
        (self.folder / 'tokens').write_text(hashlib.sha256(self.token.encode()).hexdigest() + '\n')
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(('127.0.0.1', 0))
            self.dns_port = s.getsockname()[1]  # nobody answers there, unless a test does
        (self.folder / 'seal.key').write_text(os.urandom(32).hex())
        figures = {'edge_live_seconds': EDGE_LIVE_S, 'builder_linger_seconds': 1, 'replace_delay_seconds': 1, 'stop_timeout_seconds': 10, **tuning}
        tuning = [f'{name}={value}' for name, value in figures.items()]
        self.management = Program(self, 'management', ['management-api', 'planner', 'watchdog', 'certificates'], tuning)
        self.public = Program(self, 'public', ['public-api'], tuning)
        self.others = []  # further programs that nodes report to
        self.nodes, self.edge = [], None

    def start(self):
        self.management.start()
        self.public.start()
        self.operator = Client(self, self.management.port, token=self.token)
        self.user = Client(self, self.public.port, token=self.token)

    def populate(self):
        """A region, three zones, one control node, three workers, an edge."""
        self.operator.ok('POST', '/v1/regions', {'name': 'here'}, 201)
        for zone in 'abc':
            self.operator.ok('POST', '/v1/zones', {'region': 'here', 'name': zone}, 201)
        self.nodes = [Node(self, 'operator-1', 'a', ['control'], 1)]
        self.nodes += [Node(self, f'worker-{i}', zone, ['worker'], 1 + i) for i, zone in enumerate('abc', 1)]
        for node in self.nodes:
            node.join()
        self.edge = Edge(self, 'operator-1')

    def step(self):
        for node in self.nodes:
            node.step()
        if self.edge:
            self.edge.step()

    def until(self, check, what, seconds=PATIENCE_S):
        """Everybody goes on doing their work until check() holds."""
        def turn():
            self.step()
            return check()
        return until(turn, what, seconds)

    def discard(self):
        for program in (self.management, self.public):
            if program.process and program.process.poll() is None:
                program.kill()
        said = {p.name: path.read_text() for p in (self.management, self.public) if (path := self.folder / f'{p.name}.log').exists()}
        shutil.rmtree(self.folder)
        for name, text in said.items():
            assert 'Sanitizer' not in text and 'runtime error' not in text, f'{name}: {text[-4000:]}'

    # ---- what people and builders do ----

    def context(self, text='FROM scratch\n'):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode='w') as tar:
            info = tarfile.TarInfo('Dockerfile')
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        return out.getvalue()

    def cli(self, *words, check=True, stdin=None):
        """`slipform` with these words, in a home that leads to this control plane: its CompletedProcess."""
        home = self.folder / 'home'
        if not home.exists():
            (home / 'ca').mkdir(parents=True)
            (home / 'operator').mkdir()
            shutil.copy(self.ca.cert, home / 'ca/ca.crt')
            for path, name in zip(self.ca.issue('operator', 'admin'), ('client.crt', 'client.key')):
                shutil.copy(path, home / 'operator' / name)
            (home / 'installation.json').write_text(json.dumps({
                'installation_id': str(uuid.uuid4()), 'installation': INSTALLATION, 'region': 'here', 'app_domain': 'localhost', 'os_tag': 'test',
                'created': '2026-01-01T00:00:00Z', 'prefix': 'fd00:0:0', 'edge_http_port': 1, 'edge_https_port': 2, 'node_agent_port': 3,
                'node_proxy_port': 4, 'fabric_ipv4_octet': 1, 'management_api_port': self.management.port, 'public_api_port': self.public.port,
                'nodes': [{'node_id': str(uuid.uuid4()), 'name': 'operator-1', 'zone': 'a', 'label': 'control', 'number': 1}]}))
        done = subprocess.run([PROGRAM.with_name('slipform'), *map(str, words)], env={**os.environ, 'SLIPFORM_HOME': str(home)},
                              capture_output=True, text=True, timeout=PATIENCE_S, input=stdin)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def deploy(self, project_id, text='FROM scratch\n', **query):
        words = '&'.join(f'{k}={v}' for k, v in {'project_id': project_id, **query}.items())
        return self.user.ok('POST', f'/v1/deployments?{words}', self.context(text), 201, headers={'Content-Type': 'application/x-tar'})

    def deployment(self, deployment_id):
        return self.user.ok('GET', f'/v1/deployments/{deployment_id}').json

    def builder(self, deployment_id):
        """Its builder as (node, client by the identity that the node fetched, image id), once it is asked for."""
        d = self.until(lambda: (r := self.deployment(deployment_id)).get('builder_instance_id') and r, 'a builder is placed')
        builder_id = d['builder_instance_id']
        node = next(n for n in self.nodes if n.name == 'operator-1')
        item = node.instances.get(builder_id) or (node.pull() and node.instances[builder_id])
        env = dict(e.split('=', 1) for e in item['spec']['env'])
        secrets = node.client.ok('GET', f'/v1/instances/{builder_id}/secrets').json
        cert, key = self.folder / f'{builder_id}.pem', self.folder / f'{builder_id}.key'
        cert.write_text(secrets['cert_pem'])
        key.write_text(secrets['key_pem'])
        return node, Client(self, self.management.port, (cert, key)), env

    def build(self, deployment_id, content=b'a root file system'):
        """Play the builder to the end. The image's id and digest."""
        node, client, env = self.builder(deployment_id)
        digest = hashlib.sha256(content).hexdigest()
        blob = self.folder / 'blobs' / 'sha256' / digest[:2] / digest
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        client.ok('PUT', f'/v1/images/{env["SLIPFORM_IMAGE_ID"]}/status', {
            'status': 'ready', 'digest': f'sha256:{digest}', 'size_bytes': len(content), 'config': {'cmd': ['/hello'], 'env': ['A=b']}})
        return env['SLIPFORM_IMAGE_ID'], f'sha256:{digest}'
