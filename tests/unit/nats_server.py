"""nats-servers of a test's or bench's own, one or several as a cluster: in a folder, for as long as `with` lasts.

tests/unit/store_nats.c is the same for C. What is between two servers of any kind is in Servers, which bench/servers.py uses for others, too.
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

NATS_SERVER = pathlib.Path(os.environ.get('NATS_SERVER', pathlib.Path(os.environ.get('SLIPFORM_CACHE', '/var/cache/slipform')) / 'nats/nats-server'))
START_S = 60  # until all of them answer (chosen)


def free_ports(n):
    """Kept until all are chosen."""
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(('127.0.0.1', 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def get(url):
    """None: nobody answers."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return json.loads(opener.open(url, timeout=5).read())
    except (OSError, urllib.error.URLError, ValueError):
        return None


class Servers:
    """n processes, each in a folder of its own; they end with the one that started them."""

    def __init__(self, what, n, parent):
        self.what, self.n, self.running = what, n, {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f'slipform-{what}-', dir=parent))
        self.names = [f'{what}{i}' for i in range(n)]
        for name in self.names:
            (self.folder / name).mkdir()

    def __enter__(self):
        try:
            for i in range(self.n):
                self.start(i)
            end = time.monotonic() + START_S
            while not self.is_ready():
                if time.monotonic() > end:
                    raise RuntimeError(f'{self.what} does not start: ' + '\n'.join((self.folder / f'{name}.log').read_text()[-500:] for name in self.names))
                time.sleep(0.1)
            return self
        except BaseException:
            self.__exit__()
            raise

    def start(self, i):
        with open(self.folder / f'{self.names[i]}.log', 'ab') as log:
            self.running[i] = subprocess.Popen(['setpriv', '--pdeathsig=KILL', *map(str, self.command(i))], stdout=log, stderr=log)

    def kill(self, i):
        self.running[i].kill()
        self.running.pop(i).wait()

    def __exit__(self, *_):
        for i in list(self.running):
            self.kill(i)
        shutil.rmtree(self.folder, ignore_errors=True)


class Nats(Servers):
    """JetStream; an acknowledged message is on disk."""

    def __init__(self, n, parent='/dev/shm'):
        if not NATS_SERVER.exists():
            raise RuntimeError(f'there is no nats-server at {NATS_SERVER}: tools/setup test builds it')
        super().__init__('nats', n, parent)
        ports = free_ports(3 * n)
        self.clients, self.monitors, routes = ports[:n], ports[n:2 * n], ports[2 * n:]
        for i, name in enumerate(self.names):
            cluster = '' if n == 1 else (f'cluster {{ name: test, listen: "127.0.0.1:{routes[i]}", '
                                         f'routes: [{", ".join(f"nats://127.0.0.1:{port}" for port in routes)}] }}\n')
            (self.folder / f'{name}.conf').write_text(
                f'server_name: {name}\nlisten: "127.0.0.1:{self.clients[i]}"\nhttp: "127.0.0.1:{self.monitors[i]}"\nmax_payload: 2MB\n'
                f'jetstream {{ store_dir: "{self.folder / name}", sync_interval: always }}\n{cluster}')

    def command(self, i):
        return [NATS_SERVER, '-c', self.folder / f'{self.names[i]}.conf']

    def is_ready(self):
        answers = [get(f'http://127.0.0.1:{port}/healthz') for port in self.monitors]
        return all(answer and answer.get('status') == 'ok' for answer in answers)

    @property
    def urls(self):
        return ','.join(f'nats://127.0.0.1:{port}' for port in self.clients)

    def spec(self, stream):
        monitors = ','.join(f'http://127.0.0.1:{port}' for port in self.monitors)
        return f'jetstream;servers={self.urls};monitor={monitors};stream={stream};replicas={self.n}'
