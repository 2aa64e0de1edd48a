"""A PostgreSQL of a test's or bench's own: in a folder, on a Unix socket, for as long as `with` lasts.

As user postgres when this is root. tests/unit/postgres_server.c is the same for C.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading


def programs():
    """The folder of the newest PostgreSQL, or None."""
    found = sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin/initdb'), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _as_postgres(program, *words):
    """Not as root, which the server refuses, and not longer than whoever starts it."""
    change = ['--reuid=postgres', '--regid=postgres', '--clear-groups'] if os.geteuid() == 0 else []
    return ['setpriv', *change, '--pdeathsig=QUIT', str(programs() / program), *words]


class Server:
    """folder: of its socket. Database 'slipform' of role 'owner', and a role 'replica'; anybody may be anybody."""

    def __init__(self, parent='/dev/shm'):
        self.folder = tempfile.mkdtemp(prefix='slipform-test-pg-', dir=parent)

    def __enter__(self):
        try:
            os.chmod(self.folder, 0o755)
            if os.geteuid() == 0:
                shutil.chown(self.folder, 'postgres', 'postgres')
            self.run('initdb', '-D', f'{self.folder}/data', '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-sync')
            self.start()
            for sql in ('CREATE ROLE owner LOGIN', 'CREATE ROLE replica LOGIN', 'CREATE DATABASE slipform OWNER owner'):
                self.sql(sql, 'postgres')
            return self
        except BaseException:
            self.__exit__()
            raise

    def start(self):
        self.server = subprocess.Popen(_as_postgres('postgres', '-D', f'{self.folder}/data', '-k', self.folder, '-c', 'listen_addresses='),
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, 'LC_ALL': 'C'}, cwd='/')
        said = ''
        for line in self.server.stdout:
            said += line
            if 'ready to accept connections' in line:
                break
        else:
            raise RuntimeError(f'PostgreSQL did not start: {said}')
        self.reader = threading.Thread(target=self.server.stdout.read, daemon=True)  # what it says later is not to fill the pipe
        self.reader.start()

    def stop(self, how):
        self.server.send_signal(how)
        self.server.wait(timeout=60)

    def restart(self):
        """As an administrator does: connections are cut, what was acknowledged stays."""
        self.stop(signal.SIGINT)
        self.start()

    def __exit__(self, *_):
        if hasattr(self, 'server'):
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program, *words):
        done = subprocess.run(_as_postgres(program, *words), capture_output=True, text=True, timeout=120, cwd='/', env={**os.environ, 'LC_ALL': 'C'})
        if done.returncode != 0:
            raise RuntimeError(f'{program}: {done.stderr}')
        return done.stdout

    def sql(self, text, database='slipform'):
        """As superuser."""
        return self.run('psql', '-h', self.folder, '-U', 'postgres', '-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', text, database).strip()

    def spec(self, log, user='replica', more=''):
        return f'postgres;host={self.folder};dbname=slipform;user={user};installation=test;log={log}{more}'

    def owner_spec(self, log):
        return self.spec(log, 'owner', ';rights=owner;replicas=replica')
