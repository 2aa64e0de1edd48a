"""A node-agent under test: its own CA, home and ports, and a control plane that the test plays."""
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
import uuid

from patience import PATIENCE_S

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('SLIPFORM_BUILD', ROOT / 'build'))


def wait_for(what, check, seconds=PATIENCE_S):
    """The first true answer of check(); waits for it with a bound."""
    end = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < end, f'not within {seconds} s: {what}'
        time.sleep(0.02)


def is_alive(pid):
    """A zombie is not: who was adopted by PID 1 may stay one for a while."""
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Authority:
    def __init__(self, folder, name='ca'):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.cert, self.key = folder / f'{name}.pem', folder / f'{name}.key'
        self.openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', self.key,
                     '-out', self.cert, '-days', '2', '-subj', f'/CN={name}', '-addext', 'keyUsage=critical,keyCertSign,cRLSign')

    def openssl(self, *args):
        subprocess.run(['openssl', *map(str, args)], check=True, capture_output=True)

    def issue(self, uri):
        """(certificate, key) of a program."""
        stem = self.folder / urllib.parse.quote(uri, safe='')
        cert, key, request, names = (stem.with_suffix(s) for s in ('.pem', '.key', '.csr', '.ext'))
        names.write_text(f'subjectAltName=URI:{uri},IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n'
                         'keyUsage=critical,digitalSignature\n')
        self.openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', request,
                     '-subj', '/CN=x')
        self.openssl('x509', '-req', '-in', request, '-CA', self.cert, '-CAkey', self.key, '-CAcreateserial', '-days', '2',
                     '-out', cert, '-extfile', names)
        return cert, key

    def context(self, identity, server=False):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        c.load_verify_locations(self.cert)
        if identity:
            c.load_cert_chain(*identity)
        c.check_hostname = False
        c.verify_mode = ssl.CERT_REQUIRED
        return c


class ControlPlane:
    """What a node-agent talks to: keeps what it was told, hands out what the test wants to run."""

    def __init__(self, authority, installation, host='127.0.0.1'):
        self.items, self.removed, self.cursor = {}, [], 1
        self.states, self.reports, self.joins, self.logs, self.requests = [], [], [], [], []
        self.refuse = 0  # the next so many requests get 503
        self.images, self.cut_at = {}, None  # a download is cut off there once
        self.changed = threading.Condition()
        plane = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args):
                pass

            def do_GET(self):
                plane.handle(self)
            do_PUT = do_POST = do_GET

        self.past_boot = None  # its heartbeats are refused as old ones

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                pass  # peers that go away are part of the tests

        self.server = Server((host, 0), Handler)
        context = authority.context(authority.issue(f'slipform://{installation}/control/op1'), server=True)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f'https://{host}:{self.port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def want(self, spec, **more):
        with self.changed:
            self.items[spec['instance_id']] = {'instance_id': spec['instance_id'], 'status': 'pending', 'owner': spec['owner'],
                                               'desired': spec.get('desired', 'running'), 'spec': spec, **more}
            self.cursor += 1
            self.changed.notify_all()

    def remove(self, instance_id):
        with self.changed:
            self.items.pop(instance_id)
            self.removed.append((self.cursor + 1, instance_id))
            self.cursor += 1
            self.changed.notify_all()

    def follow(self, query):
        seen = int(query.get('cursor', ['0'])[0] or 0)
        wait = min(float(query.get('wait', ['0'])[0]), 5)
        with self.changed:
            self.changed.wait_for(lambda: self.cursor > seen, wait)
            return {'items': list(self.items.values()), 'removed': [i for at, i in self.removed if at > seen],
                    'cursor': str(self.cursor), 'full': seen == 0}

    def handle(self, r):
        body = r.rfile.read(int(r.headers.get('Content-Length') or 0))
        url = urllib.parse.urlsplit(r.path)
        parts = url.path.strip('/').split('/')
        self.requests.append((r.command, url.path, dict(r.headers)))
        if self.refuse > 0:
            self.refuse -= 1
            return self.answer(r, 503, {'title': 'busy', 'status': 503, 'code': 'unavailable'})
        if r.command == 'GET' and parts[-1] == 'download':
            return self.download(r, self.images[parts[2]])
        if r.command == 'GET':
            return self.answer(r, 200, self.follow(urllib.parse.parse_qs(url.query)))
        if parts[-1] == 'logs':
            lines = [json.loads(line) for line in body.splitlines()]
            self.logs += lines
            return self.answer(r, 200, {'seq': lines[-1]['seq']})
        doc = json.loads(body)
        if parts[-1] == 'state':
            self.states.append({'instance_id': parts[2], **doc})
        elif parts[-1] == 'status':
            self.reports.append(doc)
            if doc['boot_id'] == self.past_boot:
                return self.answer(r, 409, {'title': 'conflict', 'status': 409, 'detail': 'this report is dropped'})
        else:
            self.joins.append(doc)
        return self.answer(r, 200, {})

    def download(self, r, image):
        start = int(r.headers.get('Range', 'bytes=0-')[6:-1])
        part = image[start:]
        r.send_response(206 if start else 200)
        r.send_header('Content-Length', str(len(part)))
        r.end_headers()
        if self.cut_at is not None:
            part, self.cut_at = part[:self.cut_at], None
            r.close_connection = True
        r.wfile.write(part)

    def answer(self, r, status, doc):
        data = json.dumps(doc).encode()
        r.send_response(status)
        r.send_header('Content-Type', 'application/json')
        r.send_header('Content-Length', str(len(data)))
        r.end_headers()
        r.wfile.write(data)

    def last_state(self, instance_id):
        of_it = [s for s in self.states if s['instance_id'] == instance_id]
        return max(of_it, key=lambda s: s['report_seq']) if of_it else None

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Agent:
    def __init__(self, folder, installation='test-0', labels=('control',), control=True, host='127.0.0.1',
                 plane_host='127.0.0.1', **settings):
        self.installation, self.home, self.process = installation, folder / 'home', None
        self.authority, self.host = Authority(folder / 'ca'), host
        self.programs = folder / 'programs'
        self.programs.mkdir()
        self.home.mkdir(mode=0o755)
        self.port = free_port()
        self.node_id = str(uuid.uuid4())
        self.plane = ControlPlane(self.authority, installation, plane_host) if control else None
        cert, key = self.authority.issue(f'slipform://{installation}/node/n1')
        self.operator = self.authority.issue(f'slipform://{installation}/operator/admin')
        self.settings = {'installation': installation, 'ca_file': str(self.authority.cert), 'cert_file': str(cert),
                         'key_file': str(key), 'home': str(self.home), 'node_id': self.node_id, 'node_name': 'n1',
                         'zone': 'z1', 'region': 'r1', 'labels': list(labels), 'listen': [f'{host}:{self.port}'],
                         'program_folder': str(self.programs), 'run_as_user': 'nobody', 'metrics_listen': '127.0.0.1:0',
                         'management_api': [self.plane.url] if control else [], **settings}
        self.config = folder / 'node-agent.yaml'
        self.log = folder / 'agent.log'

    def program(self, name, text):
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self, *args, netns=None):
        self.config.write_text(json.dumps(self.settings))  # JSON is YAML
        prefix = ['nsenter', f'--net=/run/netns/{netns}', '--'] if netns else []  # ip netns exec hides cgroups
        with self.log.open('ab') as log:
            self.process = subprocess.Popen([*prefix, BUILD / 'node-agent', '--config', self.config, *args], stderr=log,
                                            stdout=log, start_new_session=True)
        if not args:
            wait_for('the agent answers', self.answers)
        return self

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get('/v1/health')[0] == 200
        except OSError:
            return False

    def call(self, method, path, doc=None, identity='operator', authority=None):
        """(status, document)"""
        context = (authority or self.authority).context(self.operator if identity == 'operator' else identity)
        if authority:
            context.load_verify_locations(self.authority.cert)
        c = http.client.HTTPSConnection(self.host, self.port, context=context, timeout=60)
        try:
            c.request(method, path, None if doc is None else json.dumps(doc), {'Content-Type': 'application/json'})
            r = c.getresponse()
            data = r.read()
            kind = r.headers.get('Content-Type') or ''
            return r.status, json.loads(data) if 'json' in kind and 'nd' not in kind and data else data.decode()
        finally:
            c.close()

    def get(self, path):
        return self.call('GET', path)

    def spec(self, name, owner='bootstrap', **more):
        return {'instance_id': str(uuid.uuid4()), 'process_id': str(uuid.uuid4()), 'name': name, 'owner': owner, **more}

    def host_spec(self, name, owner='bootstrap', **more):
        return self.spec(name, owner, runtime='host', artifact_url=f'file:{name}', **more)

    def post(self, spec):
        status, doc = self.call('POST', '/v1/instances', spec)
        assert status in (200, 201), doc
        return doc

    def instance(self, instance_id):
        return self.get(f'/v1/instances/{instance_id}')[1]

    def await_status(self, instance_id, status, seconds=PATIENCE_S):
        def check():
            doc = self.instance(instance_id)
            return doc if doc.get('status') == status and (status != 'running' or doc.get('health') == 'NOMINAL') else None
        return wait_for(f'{instance_id} is {status}', check, seconds)

    def await_gone(self, instance_id):
        wait_for(f'{instance_id} is gone', lambda: self.get(f'/v1/instances/{instance_id}')[0] == 404)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """The exit code of a clean end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)

    def stop_all(self, netns=None):
        if self.process and self.process.poll() is None:
            self.stop()
        self.start('--stop-all', netns=netns)
        code = self.process.wait(timeout=PATIENCE_S)
        assert code == 0, self.log.read_text()

    def close(self, netns=None):
        if self.process and self.process.poll() is None:
            self.kill()
        self.stop_all(netns)
        if self.plane:
            self.plane.close()

    def cgroups(self):
        name = f'slipform/{self.installation}-*'
        return [*pathlib.Path('/sys/fs/cgroup').glob(f'*/{name}'), *pathlib.Path('/sys/fs/cgroup').glob(name)]


def digest_of(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()
