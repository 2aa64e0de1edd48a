"""A real S3 server (versitygw) over a folder, and a way to it that can be cut."""
import os
import pathlib
import socket
import subprocess
import threading
import time

from patience import PATIENCE_S

CACHE = pathlib.Path(os.environ.get('SLIPFORM_CACHE', '/var/cache/slipform'))
SERVER = CACHE / 'versitygw/versitygw'


class S3Server:
    def __init__(self, folder, bucket='blobs'):
        self.folder, self.bucket, self.process = folder, bucket, None
        self.data = folder / 'buckets'
        (self.data / bucket).mkdir(parents=True)
        self.keys = folder / 's3-keys'
        self.keys.write_text('aws_access_key_id = tester\naws_secret_access_key = tester-secret-words\n')
        self.keys.chmod(0o600)
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]

    def spec(self, cache, endpoint=None, keys=None, bucket=None, **more):
        options = ''.join(f';{name}={value}' for name, value in more.items())
        return (f's3;endpoint={endpoint or f"http://127.0.0.1:{self.port}"};bucket={bucket or self.bucket};region=us-east-1;prefix=test-0/;'
                f'cache={cache};credentials={keys or self.keys}{options}')

    def start(self):
        env = {'ROOT_ACCESS_KEY': 'tester', 'ROOT_SECRET_KEY': 'tester-secret-words'}
        self.process = subprocess.Popen([SERVER, '--quiet', '--port', f'127.0.0.1:{self.port}', 'posix', self.data], env=env,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port), timeout=1).close()
                return self
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, 'versitygw does not start'
                time.sleep(0.02)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def blobs(self, place='sha256'):
        """Digests that lie there."""
        top = self.data / self.bucket / 'test-0' / place
        return {f'sha256:{p.name}' for p in top.rglob('*') if p.is_file() and len(p.name) == 64}

    def age(self, seconds, *digests, place='sha256'):
        """They came so long ago (all of them, if none is named)."""
        at = time.time() - seconds
        for path in (self.data / self.bucket / 'test-0' / place).rglob('*'):
            if path.is_file() and (not digests or f'sha256:{path.name}' in digests):
                os.utime(path, (at, at))


class Relay:
    """Hands bytes on between who connects here and the server; `cut_after` ends each connection behind so many bytes of answers,
    `pause` holds every piece of them for so long."""

    def __init__(self, port):
        self.to, self.cut_after, self.pause, self.connections = port, None, 0, 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.endpoint = f'http://127.0.0.1:{self.port}'
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(('127.0.0.1', self.to))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self.hand_on, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.hand_on, args=(server, client, True), daemon=True).start()

    def hand_on(self, source, sink, is_answer):
        left = self.cut_after if is_answer else None
        try:
            while data := source.recv(65536):
                if is_answer and self.pause:
                    time.sleep(self.pause)
                if left is not None:
                    data, left = data[:left], left - len(data)
                sink.sendall(data)
                if left is not None and left <= 0:
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
