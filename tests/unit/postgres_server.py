"""A PostgreSQL of a test's or bench's own: in a folder, on a Unix socket, for as long as `with` lasts.

As user postgres when this is root. tests/unit/postgres_server.c is the same for C.
"""
import ctypes
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile


def programs():
    """The folder of the newest PostgreSQL, or None."""
    found = sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin/initdb'), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _as_postgres():
    if os.geteuid() == 0:
        user = pwd.getpwnam('postgres')
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG, behind setuid, which clears it


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
            self.server = subprocess.Popen([programs() / 'postgres', '-D', f'{self.folder}/data', '-k', self.folder, '-c', 'listen_addresses='],
                                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, 'LC_ALL': 'C'}, cwd='/',
                                           preexec_fn=_as_postgres)
            said = ''
            for line in self.server.stdout:
                said += line
                if 'ready to accept connections' in line:
                    break
            else:
                raise RuntimeError(f'PostgreSQL did not start: {said}')
            for sql in ('CREATE ROLE owner LOGIN', 'CREATE ROLE replica LOGIN', 'CREATE DATABASE slipform OWNER owner'):
                self.sql(sql, 'postgres')
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        server = getattr(self, 'server', None)
        if server is not None:
            server.send_signal(signal.SIGQUIT)
            server.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program, *words, **more):
        done = subprocess.run([programs() / program, *words], capture_output=True, text=True, timeout=120, cwd='/', preexec_fn=_as_postgres,
                              env={**os.environ, 'LC_ALL': 'C'}, **more)
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
