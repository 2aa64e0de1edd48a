"""A small world for the tests of edge-proxy and node-proxy: one operator and two workers in network namespaces, three
guests (a namespace and a program each), certificates, the rules of a node, and a fake of the management API.

Real here: edge-proxy, node-proxy, Envoy, nftables, routing, TLS. The only double is the management API (routes and
certificates), because what is tested is how the edge follows it.
"""
import http.client
import http.server
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import guardian
from patience import PATIENCE_S

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('SLIPFORM_BUILD', ROOT / 'build'))
ENVOY = pathlib.Path(os.environ.get('SLIPFORM_ENVOY', '/var/cache/slipform/envoy/envoy'))
HERE = pathlib.Path(__file__).resolve().parent
INSTALLATION = 'test'
USER = 61013  # nobody's

NODE_RULES = '''
table ip6 slipform_test {
  chain pre {
    type filter hook prerouting priority mangle; policy accept;
    iifname "slp*" accept
    ip6 daddr != %(prefix)s::/64 accept
    ip6 daddr %(prefix)s::1 counter drop
    tcp dport 1-65535 socket transparent 1 meta mark set 0x17d4 accept
    meta l4proto tcp fib daddr type { unreachable, prohibit, blackhole } counter reject with tcp reset
    meta l4proto tcp meta mark set 0x17d4 tproxy to [::1]:6101 accept
    meta l4proto tcp counter reject with tcp reset
    counter drop
  }
}
'''


def run(*command, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}")
    return result.stdout


def wait_for(what, condition, seconds=PATIENCE_S):
    """Poll until condition() is true; its last value or exception says why not."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            last = condition()
            if last:
                return last
        except (OSError, RuntimeError, http.client.HTTPException, KeyError, ValueError) as e:
            last = e
        time.sleep(0.02)
    raise AssertionError(f'{what}: not within {seconds} s, last: {last!r}')


class Pki:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.ca('ca', 'installation')
        self.ca('public-ca', 'public')

    def ca(self, name, cn):
        run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
            f'/CN={cn}', '-keyout', self.folder / f'{name}.key', '-out', self.folder / f'{name}.crt')

    def issue(self, name, *sans, ca='ca'):
        f = self.folder
        (f / f'{name}.ext').write_text('subjectAltName=' + ','.join(sans) + '\nextendedKeyUsage=serverAuth,clientAuth\n')
        run('openssl', 'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}',
            '-keyout', f / f'{name}.key', '-out', f / f'{name}.csr')
        run('openssl', 'x509', '-req', '-in', f / f'{name}.csr', '-CA', f / f'{ca}.crt', '-CAkey', f / f'{ca}.key', '-days', '2',
            '-set_serial', str(secrets.randbits(60)), '-extfile', f / f'{name}.ext', '-out', f / f'{name}.crt')
        os.chown(f / f'{name}.key', USER, USER)

    def text(self, name):
        return (self.folder / name).read_text()


def uuid(n):
    return f'018f0000-0000-7000-8000-{n:012x}'


class FakeApi:
    """GET /v1/routes with cursor and wait, GET /v1/certificates/{id}; runs in the edge's namespace, over mTLS."""

    def __init__(self, world):
        self.world, self.changed = world, threading.Condition()
        self.routes, self.log, self.seq, self.certificates = {}, [], 0, {}
        self.cursors = []  # (time, cursor) of each request: what the edge confirms
        self.waits = []  # s, of each request: how long it is ready to wait for news
        self.is_down = False
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self):
                api.handle(self)

            def log_message(self, *_):
                pass

        with world.in_namespace('edge'):
            class Server(http.server.ThreadingHTTPServer):
                address_family = socket.AF_INET6
                daemon_threads = True
            self.server = Server(('::1', 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(world.pki.folder / 'api.crt', world.pki.folder / 'api.key')
        context.load_verify_locations(world.pki.folder / 'ca.crt')
        context.verify_mode = ssl.CERT_REQUIRED
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f'https://[::1]:{self.server.server_address[1]}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handle(self, request):
        url, _, query = request.path.partition('?')
        parameters = dict(p.split('=', 1) for p in query.split('&') if p)
        if self.is_down:
            request.close_connection = True
            return
        if url == '/v1/routes':
            document = self.follow(parameters.get('cursor', ''), float(parameters.get('wait', 0)))
        elif url.startswith('/v1/certificates/') and url.rsplit('/', 1)[1] in self.certificates:
            document = self.certificates[url.rsplit('/', 1)[1]]
        else:
            request.send_error(404)
            return
        body = json.dumps(document).encode()
        request.send_response(200)
        request.send_header('content-type', 'application/json')
        request.send_header('content-length', str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def follow(self, cursor, wait):
        with self.changed:
            self.cursors.append((time.monotonic(), cursor))
            self.waits.append(wait)
            self.changed.notify_all()
            if cursor == str(self.seq):
                seq = self.seq
                self.changed.wait_for(lambda: self.seq != seq, timeout=wait)
            if cursor == '':
                return {'items': list(self.routes.values()), 'removed': [], 'cursor': str(self.seq), 'full': True}
            since = {i for n, i in self.log if n > int(cursor)}
            return {'items': [self.routes[i] for i in since if i in self.routes],
                    'removed': [i for i in since if i not in self.routes], 'cursor': str(self.seq), 'full': False}

    def put(self, number, hosts, guests, healthy=True):
        """Route `number` with hosts and endpoints; returns the cursor at which it holds."""
        with self.changed:
            self.seq += 1
            self.log.append((self.seq, uuid(number)))
            self.routes[uuid(number)] = {
                'route_id': uuid(number), 'project': f'p{number}', 'deployment_id': uuid(9000 + self.seq),
                'hosts': [{'host': h, 'certificate_id': self.certificate(h)} for h in hosts],
                'endpoints': [{'instance_id': uuid(5000 + g.number), 'address': g.address, 'port': 8080, 'node': g.node,
                               'node_dns': f'{g.node}.node.{INSTALLATION}', 'healthy': healthy} for g in guests]}
            self.changed.notify_all()
            return str(self.seq)

    def remove(self, number):
        with self.changed:
            self.seq += 1
            self.log.append((self.seq, uuid(number)))
            del self.routes[uuid(number)]
            self.changed.notify_all()
            return str(self.seq)

    def certificate(self, host):
        number = uuid(int.from_bytes(host.encode()[:5].ljust(5, b'_'), 'big'))
        if number not in self.certificates:
            self.world.pki.issue(host, f'DNS:{host}', ca='public-ca')
            self.certificates[number] = {'certificate_id': number, 'host': host, 'chain_pem': self.world.pki.text(f'{host}.crt'),
                                         'key_pem': self.world.pki.text(f'{host}.key')}
        return number

    def confirmed(self, cursor, seconds=PATIENCE_S):
        """Wait until the edge has sent this cursor back."""
        with self.changed:
            if not self.changed.wait_for(lambda: any(c == cursor for _, c in self.cursors), timeout=seconds):
                raise AssertionError(f'cursor {cursor} not confirmed within {seconds} s, seen: {self.cursors[-5:]}')


class Guest:
    def __init__(self, world, number, node, prefix):
        self.world, self.number, self.node, self.address = world, number, node, f'{prefix}::1{number}'
        self.name, self.process = f'g{number}', None
        world.make_guest(self, prefix)
        self.start()

    def start(self):
        self.process = self.world.popen(self.name, sys.executable, HERE / 'edge_backend.py', self.address, 8080, self.name)

    def kill(self):
        self.process.kill()
        self.process.wait()


class World:
    def __init__(self):
        self.id = secrets.token_hex(3)
        guardian.note(f'slipform-t-{self.id}')
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='slpe-', dir='/tmp'))
        self.processes, self.spaces, self.api, self.envoys = [], [], None, []
        self.programs = {}

    # ---- namespaces ----

    def space(self, name):
        return f'slipform-t-{self.id}-{name}'

    def add_space(self, name):
        run('ip', 'netns', 'add', self.space(name))
        self.spaces.append(name)
        run('ip', '-n', self.space(name), 'link', 'set', 'lo', 'up')
        self.sh(name, 'sysctl', '-qw', 'net.ipv6.conf.all.accept_dad=0', 'net.ipv6.conf.default.accept_dad=0')

    def sh(self, name, *command, **options):
        return run('ip', 'netns', 'exec', self.space(name), *command, **options)

    def ip(self, name, *command):
        return run('ip', '-n', self.space(name), *command)

    def popen(self, name, *command, unprivileged=False, **options):
        if unprivileged:  # as an installation runs it: a user of its own and one capability
            command = ['setpriv', '--reuid', USER, '--regid', USER, '--clear-groups', '--no-new-privs', '--bounding-set', '-all,+net_admin',
                       '--inh-caps', '-all,+net_admin', '--ambient-caps', '-all,+net_admin', *command]
        process = subprocess.Popen(['ip', 'netns', 'exec', self.space(name), *map(str, command)], stdin=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process

    def in_namespace(self, name):
        """Sockets made inside belong to that namespace (this thread only)."""
        world = self

        class Inside:
            def __enter__(self):
                self.old = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
                fd = os.open(f'/run/netns/{world.space(name)}', os.O_RDONLY)
                setns(fd)
                os.close(fd)

            def __exit__(self, *_):
                setns(self.old)
                os.close(self.old)
        return Inside()

    def up(self):
        self.folder.chmod(0o755)
        for program in ('edge-proxy', 'node-proxy'):
            shutil.copy(BUILD / program, self.folder / program)  # where that user can read it
        self.pki = Pki(self.folder / 'pki')
        self.pki.issue('edge', f'URI:slipform://{INSTALLATION}/edge/op1', 'DNS:op1.edge.' + INSTALLATION)
        self.pki.issue('api', f'URI:slipform://{INSTALLATION}/control/op1', 'DNS:localhost', 'IP:::1')
        for node in ('w1', 'w2'):
            self.pki.issue(node, f'URI:slipform://{INSTALLATION}/node-proxy/{node}', f'DNS:{node}.node.{INSTALLATION}')
        for name in ('sw', 'edge', 'w1', 'w2'):
            self.add_space(name)
        self.ip('sw', 'link', 'add', 'br0', 'type', 'bridge')
        self.ip('sw', 'link', 'set', 'br0', 'up')
        for name, address in (('edge', 'fd10::e1'), ('w1', 'fd10::a1'), ('w2', 'fd10::a2')):
            self.ip('sw', 'link', 'add', 'p' + name, 'type', 'veth', 'peer', 'name', 'fab0', 'netns', self.space(name))
            self.ip('sw', 'link', 'set', 'p' + name, 'master', 'br0', 'up')
            self.ip(name, 'addr', 'add', address + '/64', 'dev', 'fab0', 'nodad')
            self.ip(name, 'link', 'set', 'fab0', 'up')
        self.prefixes = {'w1': 'fd00:1', 'w2': 'fd00:2'}
        for node, prefix in self.prefixes.items():
            self.make_node(node, prefix)
        self.guests = [Guest(self, 1, 'w1', 'fd00:1'), Guest(self, 2, 'w1', 'fd00:1'), Guest(self, 3, 'w2', 'fd00:2')]
        self.api = FakeApi(self)
        return self

    def make_node(self, node, prefix):
        self.sh(node, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1')
        self.ip(node, 'addr', 'add', f'{prefix}::1/128', 'dev', 'lo')
        self.ip(node, '-6', 'route', 'add', 'unreachable', f'{prefix}::/64', 'metric', '4096')
        self.ip(node, '-6', 'rule', 'add', 'fwmark', '0x17d4', 'lookup', '6100', 'priority', '100')
        self.ip(node, '-6', 'route', 'add', 'local', '::/0', 'dev', 'lo', 'table', '6100')
        self.sh(node, 'nft', '-f', '-', input=NODE_RULES % {'prefix': prefix})
        gateway = {'w1': 'fd10::a1', 'w2': 'fd10::a2'}[node]
        self.ip('edge', '-6', 'route', 'add', f'{prefix}::/64', 'via', gateway, 'dev', 'fab0')

    def make_guest(self, guest, prefix):
        self.add_space(guest.name)
        link = f'slp{guest.name}'
        self.ip(guest.node, 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', self.space(guest.name))
        self.ip(guest.node, 'addr', 'add', 'fe80::1/64', 'dev', link, 'nodad')
        self.ip(guest.node, 'link', 'set', link, 'up')
        self.ip(guest.name, 'link', 'set', 'eth0', 'up')
        self.ip(guest.name, 'addr', 'add', f'{guest.address}/128', 'dev', 'eth0', 'nodad')
        self.ip(guest.node, '-6', 'route', 'add', f'{guest.address}/128', 'dev', link, 'src', f'{prefix}::1')
        self.ip(guest.name, '-6', 'route', 'add', 'default', 'via', 'fe80::1', 'dev', 'eth0')

    # ---- programs ----

    def environment(self, certificate):
        f = self.pki.folder
        return {'PATH': os.environ['PATH'], 'SLIPFORM_INSTALLATION': INSTALLATION, 'SLIPFORM_CA_FILE': str(f / 'ca.crt'),
                'SLIPFORM_CERT_FILE': str(f / f'{certificate}.crt'), 'SLIPFORM_KEY_FILE': str(f / f'{certificate}.key'),
                'SLIPFORM_ENVOY_BINARY': str(ENVOY), 'SLIPFORM_METRICS_LISTEN': '127.0.0.1:9464'}

    def start_program(self, program, space, certificate, **settings):
        home = self.folder / space
        if not home.exists():
            home.mkdir()
            os.chown(home, USER, USER)
        env = {**self.environment(certificate), 'SLIPFORM_STATE_DIR': str(home / 'state'), 'SLIPFORM_RUN_DIR': str(home / 'run')}
        env.update({'SLIPFORM_' + k.upper(): str(v) for k, v in settings.items()})
        log = open(home / f'{program}.log', 'ab')
        process = self.popen(space, self.folder / program, env=env, stderr=log, stdout=log, unprivileged=True)
        log.close()
        self.programs[space] = process
        return process

    def start_edge(self):
        return self.start_program('edge-proxy', 'edge', 'edge', management_urls=self.api.url, edge_https='[::]:8443',
                                  edge_http='[::]:8080', node='op1')

    def start_node(self, node):
        return self.start_program('node-proxy', node, node, node=node)

    def metrics(self, space):
        text = self.sh(space, 'curl', '-sS', '-m', '20', 'http://127.0.0.1:9464/metrics')
        return {k: float(v) for k, _, v in (line.rpartition(' ') for line in text.splitlines() if line and line[0] != '#')}

    def is_ready(self, space):
        return self.sh(space, 'curl', '-sS', '-m', '20', '-o', '/dev/null', '-w', '%{http_code}', 'http://127.0.0.1:9464/readyz') == '200'

    def envoy_pid(self, space):
        return json.loads((self.folder / space / 'run' / 'envoy.json').read_text())['pid']

    def program_pid(self, space):
        """ip netns exec replaces itself by the program, so it is the child's own pid."""
        return self.programs[space].pid

    # ---- requests, from the edge's own namespace ----

    def curl(self, url, *options, host=None, port=8443, check=True):
        host = host or url.split('/')[2].split(':')[0]
        command = ['ip', 'netns', 'exec', self.space('edge'), 'curl', '-sS', '-m', '60', '--cacert', str(self.pki.folder / 'public-ca.crt'),
                   '--resolve', f'{host}:{port}:[fd10::e1]', *map(str, options), url]
        result = subprocess.run(command, capture_output=True, text=True)
        if check and result.returncode != 0:
            raise RuntimeError(f'curl: {result.returncode} {result.stderr}')
        return result.stdout

    def load(self, host, rate, path='/'):
        return Load(self, host, rate, path)

    # ---- the end ----

    def down(self):
        for process in self.processes:
            process.kill()
            process.wait()
        for space in self.spaces:
            state = self.folder / space / 'run' / 'envoy.json'
            if state.exists():
                kill_process(json.loads(state.read_text()))
        if self.api:
            self.api.server.shutdown()
            self.api.server.server_close()
        for name in self.spaces:
            subprocess.run(['ip', 'netns', 'del', self.space(name)], capture_output=True)
        if not os.environ.get('SLIPFORM_KEEP'):
            shutil.rmtree(self.folder, ignore_errors=True)


class Load:
    """Paced requests while the block runs; afterwards .result."""

    def __init__(self, world, host, rate, path):
        self.command = [sys.executable, HERE / 'edge_load.py', 'fd10::e1', 8443, host, world.pki.folder / 'public-ca.crt', rate, path]
        self.world = world

    def __enter__(self):
        self.process = self.world.popen('edge', *self.command, stdout=subprocess.PIPE, text=True)
        time.sleep(1)  # not a wait for an event: the load has to run for a while before what it is to survive
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            time.sleep(1)  # and afterwards
        self.process.send_signal(signal.SIGTERM)
        self.result = json.loads(self.process.communicate(timeout=PATIENCE_S)[0])


def is_running(pid):
    """A zombie is not: an adopted Envoy has another parent, who takes its time."""
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def kill_process(ref):
    """Kill the very process that was noted, not another of the same pid."""
    try:
        stat = pathlib.Path(f"/proc/{ref['pid']}/stat").read_text()
    except FileNotFoundError:
        return
    if int(stat.rpartition(')')[2].split()[19]) == ref['start_ticks']:
        os.kill(ref['pid'], signal.SIGKILL)


def setns(fd):
    import ctypes
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), 'setns')
