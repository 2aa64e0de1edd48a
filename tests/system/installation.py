"""An installation of its own for a test: raised by the CLI in a temporary home, read through the black-box contract only."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time

from patience import PATIENCE_S

ROOT = pathlib.Path(__file__).resolve().parents[2]
SLIPFORM = ROOT / 'build' / 'slipform'


class Failed(AssertionError):
    pass


class Installation:
    def __init__(self):
        self.home = tempfile.mkdtemp(prefix='slipform-test-', dir='/var/tmp')
        self.env = {**os.environ, 'SLIPFORM_HOME': self.home}

    def run(self, *words, timeout=600, check=True, **options):
        """The CLI; its CompletedProcess. A wrong exit code fails the test with what it said."""
        done = subprocess.run([SLIPFORM, *map(str, words)], env=self.env, capture_output=True, text=True, timeout=timeout, **options)
        if check and done.returncode != 0:
            raise Failed(f'slipform {" ".join(map(str, words))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}')
        return done

    def json(self, *words, **options):
        return json.loads(self.run(*words, '--json', **options).stdout)

    def up(self):
        return self.run('up', timeout=900)

    def down(self):
        return self.run('down', timeout=300)

    def discard(self):
        """Stop it whatever state it is in, and delete its home."""
        if os.path.exists(f'{self.home}/installation.json'):
            self.run('down', check=False, timeout=300)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def tag(self):
        return json.loads(pathlib.Path(self.home, 'installation.json').read_text())['os_tag']

    def deploy(self, folder, project, *options, check=True):
        done = self.run('deploy', folder, '--project', project, '--json', *options, check=False, timeout=1200)
        if check and done.returncode != 0:
            raise Failed(f'deploy: exit code {done.returncode}\n{done.stdout}\n{done.stderr}')
        return done if not check else json.loads(done.stdout)

    def instances(self, **wanted):
        return [row for row in self.json('ps') if all(row[key] == value for key, value in wanted.items())]

    def management(self, path):
        """A document of the management API, as the operator sees it."""
        import urllib.request
        status = self.json('status')
        token = pathlib.Path(status['token_file']).read_text().strip()
        ask = urllib.request.Request(status['endpoints']['management_api'] + path, headers={'Authorization': f'Bearer {token}'})
        with urllib.request.urlopen(ask, timeout=60, context=ssl.create_default_context(cafile=status['ca_file'])) as answer:
            return json.load(answer)

    def edge(self, host):
        status = self.json('status')
        return Edge(host, int(status['endpoints']['edge_https'].rsplit(':', 1)[1]), status['ca_file'])


class Edge:
    """HTTPS to one host by the edge of an installation, the certificate checked."""

    def __init__(self, host, port, ca_file):
        self.host, self.port = host, port
        self.context = ssl.create_default_context(cafile=ca_file)

    def connect(self, timeout=60):
        import socket
        raw = socket.create_connection(('127.0.0.1', self.port), timeout=timeout)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        connection.sock = self.context.wrap_socket(raw, server_hostname=self.host)
        return connection

    def get(self, path='/', headers=None, timeout=60):
        return self.ask('GET', path, headers, timeout)

    def ask(self, method, path, headers=None, timeout=60):
        """(status, headers, body) over a fresh connection."""
        connection = self.connect(timeout)
        try:
            connection.request(method, path, headers={'Host': f'{self.host}:{self.port}', **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def who(self, **options):
        status, _, body = self.get('/', **options)
        if status != 200:
            raise Failed(f'GET / answered {status}: {body[:300]!r}')
        return json.loads(body)


class Load:
    """Requests at a steady pace from the background until stopped; every answer is kept.

    ask: what one request is and answers; without it a GET, whose answer is the version that served it."""

    def __init__(self, edge, per_second=50, ask=None):
        self.ask, self.pause = ask or (lambda: edge.who(timeout=60)['version']), 1 / per_second
        self.answers, self.failures = [], []
        self.stopping = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _one(self):
        began = time.monotonic()
        try:
            self.answers.append(self.ask())
        except Exception as why:  # noqa: BLE001 - whatever it is, a request has failed
            self.failures.append(f'after {time.monotonic() - began:.2f} s: {why!r}')

    def _run(self):
        due = time.monotonic()
        while not self.stopping.is_set():
            self.pool.submit(self._one)
            due += self.pause
            self.stopping.wait(max(0, due - time.monotonic()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        self.pool.shutdown(wait=True)


def until(condition, seconds=PATIENCE_S, what='the condition'):
    """Ask until it is true; the last value. Bounded: fails the test with the last exception or value."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            last = condition()
            if last:
                return last
        except (Failed, OSError, KeyError, ValueError, subprocess.SubprocessError) as why:
            last = why
        time.sleep(0.2)
    raise Failed(f'{what} did not come within {seconds} s; last: {last!r}')


def is_alive(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def words_of(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def leftovers(tag, home):
    """Objects in the OS that carry the installation's tag or home."""
    found = [line for line in words_of('ip', '-o', 'link').splitlines() if f'slp{tag}' in line]
    found += [line for line in words_of('ip', 'netns').splitlines() if f'-{tag}' in line]
    found += [line for line in words_of('nft', 'list', 'tables').splitlines() if f'_{tag}' in line]
    found += [line for line in words_of('ip', '-6', 'rule').splitlines() if '6100' in line and tag in line]
    found += [line for line in pathlib.Path('/proc/mounts').read_text().splitlines() if home in line]
    found += [str(p) for p in pathlib.Path('/sys/fs/cgroup').glob('*/slipform/*') if tag in p.name]
    prefix = json.loads(pathlib.Path(home, 'installation.json').read_text())['prefix']
    for folder in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            command = (folder / 'cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
            groups = (folder / 'cgroup').read_text()
        except OSError:
            continue
        ours = home in command or f'{prefix}:' in command or f'-{tag}/' in groups
        if ours and str(folder.name) != str(os.getpid()):
            found.append(f'process {folder.name}: {command[:200]}')
    return found
