"""The installation that is measured: its own, in a temporary home, raised and taken down by the CLI."""
import ctypes
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.parse

from figures import ROOT

sys.path.insert(0, str(ROOT / 'tests/system'))
from installation import Failed, Installation, is_alive, until  # noqa: E402, F401 - for the other files of this folder

HOMES = pathlib.Path('/var/tmp')
CACHE = pathlib.Path(os.environ.get('SLIPFORM_CACHE', '/var/cache/slipform'))


class House(Installation):
    def __init__(self):
        self.home = tempfile.mkdtemp(prefix=f'slipform-bench-{os.getpid()}-', dir=HOMES)
        os.chmod(self.home, 0o755)
        self.env = {name: value for name, value in os.environ.items() if name != 'SLIPFORM_RUNTIME'}
        self.env['SLIPFORM_HOME'] = self.home

    def raise_it(self):
        self.up()
        self.status = self.json('status')
        self.nodes = {node['name']: node for node in self.status['endpoints']['node_agents']}
        self.tls = ssl.create_default_context(cafile=self.status['ca_file'])
        self.tls.load_cert_chain(self.status['client_cert_file'], self.status['client_key_file'])
        self.tls.check_hostname = False  # our peers are named by URI; here it is enough that our CA knows them

    def namespace(self, node):
        ending = f'-{self.tag}-{node}'
        return next(line.split()[0] for line in subprocess.check_output(['ip', 'netns'], text=True).splitlines()
                    if line.split()[0].endswith(ending))

    def discard(self):
        tag = None
        if os.path.exists(f'{self.home}/installation.json'):
            tag = self.tag
            self.run('down', check=False, timeout=300, start_new_session=True)  # ^C is for us
        for pid in self.processes(b''):  # of the bench itself, when it was interrupted
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for folder in sorted(pathlib.Path('/sys/fs/cgroup').glob(f'**/slipform/*-{tag}/**/'), reverse=True) if tag else ():
            try:
                folder.rmdir()
            except OSError:
                pass  # not empty after all, or gone
        shutil.rmtree(self.home, ignore_errors=True)

    def client(self, url):
        return Client(url, self.tls, pathlib.Path(self.status['token_file']).read_text().strip())

    def agent(self, node):
        return Client(self.nodes[node]['url'], self.tls)

    def processes(self, needle):
        """Pids of what runs out of this home and has `needle` in its command line."""
        found = []
        for folder in pathlib.Path('/proc').glob('[0-9]*'):
            try:
                command = (folder / 'cmdline').read_bytes()
            except OSError:
                continue
            if self.home.encode() in command and re.search(needle, command) and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        return found


def discard_stale():
    """What a bench that was killed has left."""
    for home in HOMES.glob('slipform-bench-*'):
        if not is_alive(int(home.name.split('-')[2])):
            stale = House.__new__(House)
            stale.home, stale.env = str(home), {**os.environ, 'SLIPFORM_HOME': str(home)}
            stale.discard()


class Client:
    """JSON over one kept-alive connection."""

    def __init__(self, url, tls, token=None):
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=tls, timeout=30)
        self.connection.connect()
        self.headers = {'Content-Type': 'application/json', **({'Authorization': f'Bearer {token}'} if token else {})}

    def call(self, method, path, doc=None):
        """(status, document or text)"""
        self.connection.request(method, path, None if doc is None else json.dumps(doc), self.headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        kind = answer.headers['content-type'] or ''
        return answer.status, json.loads(text) if text and 'json' in kind and 'ndjson' not in kind else text

    def ask(self, method, path, doc=None):
        status, answer = self.call(method, path, doc)
        if status >= 300:
            raise Failed(f'{method} {path}: {status} {answer}')
        return answer


LIBC = ctypes.CDLL(None, use_errno=True)


class Inside:
    """Sockets made inside belong to that network namespace (this thread only)."""

    def __init__(self, namespace):
        self.namespace = namespace

    def __enter__(self):
        self.before = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        self._go(os.open(f'/run/netns/{self.namespace}', os.O_RDONLY))

    def __exit__(self, *_):
        self._go(self.before)

    @staticmethod
    def _go(fd):
        if LIBC.setns(fd, 0x40000000) != 0:  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), 'setns')
        os.close(fd)
