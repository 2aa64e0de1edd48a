"""A PostgreSQL of a test's or bench's own: in a folder, on a Unix socket, for as long as `with` lasts.

As user postgres when this is root. tests/unit/postgres_server.c is the same for C.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time


def programs():
    """The folder of the newest PostgreSQL, or None."""
    found = sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin/initdb'), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _as_postgres(program, *words):
    """Not as root, which the server refuses, and not longer than whoever starts it."""
    change = ['--reuid=postgres', '--regid=postgres', '--clear-groups'] if os.geteuid() == 0 else []
    return ['setpriv', *change, '--pdeathsig=QUIT', str(programs() / program), *words]


def is_alive(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


class Server:
    """folder: of its socket. Database 'slipform' of role 'owner', and a role 'replica'; anybody may be anybody."""

    def __init__(self, parent='/dev/shm', port=None):
        """port: it listens on 127.0.0.1, too."""
        self.port = port or 5432
        self.listens = ['-c', 'listen_addresses=127.0.0.1' if port else 'listen_addresses=', '-p', str(self.port)]
        self.folder = tempfile.mkdtemp(prefix='slipform-test-pg-', dir=parent)
        os.chmod(self.folder, 0o755)
        if os.geteuid() == 0:
            shutil.chown(self.folder, 'postgres', 'postgres')

    def __enter__(self):
        try:
            self.run('initdb', '-D', f'{self.folder}/data', '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-sync')
            self.start()
            for sql in ('CREATE ROLE owner LOGIN', 'CREATE ROLE replica LOGIN', 'CREATE DATABASE slipform OWNER owner'):
                self.sql(sql, 'postgres')
            return self
        except BaseException:
            self.__exit__()
            raise

    def start(self):
        self.server = subprocess.Popen(_as_postgres('postgres', '-D', f'{self.folder}/data', '-k', self.folder, *self.listens,
                                                     '-c', 'dynamic_shared_memory_type=mmap'),  # which a kill does not leave behind
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, 'LC_ALL': 'C'}, cwd='/')
        said, self.ready_us = '', None
        for line in self.server.stdout:
            said += line
            if 'ready to accept' in line:  # "connections", or "read-only connections"
                break
        else:
            raise RuntimeError(f'PostgreSQL did not start: {said}')
        self.heard(line)
        self.reader = threading.Thread(target=self.listen, args=(self.server.stdout,), daemon=True)
        self.reader.start()

    def listen(self, said):
        """What it says later is not to fill the pipe."""
        with said:
            for line in said:
                self.heard(line)

    def heard(self, line):
        if 'ready to accept connections' in line:
            self.ready_us = time.monotonic_ns() // 1000  # since when it takes writes

    def stop(self, how):
        self.server.send_signal(how)
        self.server.wait(timeout=60)

    def kill(self):
        """As a power loss does, but for the kernel's memory: all of its processes at once."""
        children = pathlib.Path(f'/proc/{self.server.pid}/task/{self.server.pid}/children').read_text().split()
        for pid in [self.server.pid, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):  # a connection's, that was over
                os.kill(pid, signal.SIGKILL)
        self.server.wait(timeout=60)
        while any(is_alive(pid) for pid in children):
            time.sleep(0.001)

    def restart(self):
        """As an administrator does: connections are cut, what was acknowledged stays."""
        self.stop(signal.SIGINT)
        self.start()

    def __exit__(self, *_):
        if hasattr(self, 'server') and self.server.poll() is None:
            self.stop(signal.SIGQUIT)
        lock = pathlib.Path(self.folder, 'data/postmaster.pid')  # which only a kill leaves, and a segment with it
        if lock.exists():
            subprocess.run(['ipcrm', '-m', lock.read_text().split('\n')[6].split()[1]], capture_output=True, timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program, *words):
        done = subprocess.run(_as_postgres(program, *words), capture_output=True, text=True, timeout=120, cwd='/', env={**os.environ, 'LC_ALL': 'C'})
        if done.returncode != 0:
            raise RuntimeError(f'{program}: {done.stderr}')
        return done.stdout

    def sql(self, text, database='slipform'):
        """As superuser."""
        return self.run('psql', '-h', self.folder, '-p', str(self.port), '-U', 'postgres', '-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', text, database).strip()

    def settings(self, **settings):
        """Of the whole server, from its next question on."""
        for name, value in settings.items():
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'", 'postgres')
        self.sql('SELECT pg_reload_conf()', 'postgres')

    def spec(self, log, user='replica', more=''):
        return f'postgres;host={self.folder};port={self.port};dbname=slipform;user={user};installation=test;log={log}{more}'

    def owner_spec(self, log):
        return self.spec(log, 'owner', ';rights=owner;replicas=replica')


class Standby(Server):
    """A streaming standby of another server: a base backup of it, and what follows."""

    def __init__(self, primary, name):
        super().__init__(pathlib.Path(primary.folder).parent)
        self.primary, self.name = primary, name

    def __enter__(self):
        try:
            self.run('pg_basebackup', '-D', f'{self.folder}/data', '-d', f'host={self.primary.folder} user=postgres application_name={self.name}',
                     '-R', '-X', 'stream', '-c', 'fast', '-C', '-S', self.name, '--no-sync')
            self.start()
            return self
        except BaseException:
            self.__exit__()
            raise

    def promote(self):
        """Returns when it takes writes."""
        self.run('pg_ctl', 'promote', '-w', '-t', '60', '-D', f'{self.folder}/data')
