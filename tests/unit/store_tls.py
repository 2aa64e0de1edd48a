"""Logs on servers that are spoken to by TLS, each side with a certificate: python3 store_tls.py SLIPFORM APPEND_LOAD

A real PostgreSQL and a real nats-server; what is wrong with a certificate is said, and no key or password with it.
"""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from postgres_server import Server, programs

SLIPFORM, LOAD = sys.argv[1:3]
NATS = pathlib.Path(os.environ.get('NATS_SERVER', pathlib.Path(os.environ.get('SLIPFORM_CACHE', '/var/cache/slipform')) / 'nats/nats-server'))


class Authority:
    """Certificates in a folder that everybody may read; keys are of whoever runs this."""

    def __init__(self, folder, name):
        self.folder, self.cert, self.key = folder, folder / f'{name}.crt', folder / f'{name}.key'
        self.openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', self.key, '-out', self.cert,
                     '-subj', f'/CN={name}', '-days', '2')

    def openssl(self, *words):
        subprocess.run(['openssl', *map(str, words)], check=True, capture_output=True, timeout=60)

    def issue(self, file, common_name, name='localhost', days=2, more=''):
        cert, key, request, names = (self.folder / f'{file}.{end}' for end in ('crt', 'key', 'csr', 'ext'))
        names.write_text(f'subjectAltName=DNS:{name}\n{more}')
        self.openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', request, '-subj', f'/CN={common_name}')
        self.openssl('x509', '-req', '-in', request, '-CA', self.cert, '-CAkey', self.key, '-CAcreateserial', '-days', days, '-extfile', names, '-out', cert)
        return cert, key


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix='slipform-test-tls-')
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.folder.chmod(0o755)
        cls.ca, cls.other = Authority(cls.folder, 'ca'), Authority(cls.folder, 'other-ca')
        cls.client = cls.ca.issue('op1', 'op1')
        cls.expired, cls.stranger = cls.ca.issue('expired', 'op1', days=-1), cls.ca.issue('stranger', 'somebody')
        cls.foreign = cls.other.issue('foreign', 'op1')
        cls.for_servers = cls.ca.issue('for-servers', 'op1', more='extendedKeyUsage=serverAuth\n')

    def enter(self, context):
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def verify(self, spec):
        """What `slipform eventlog verify` says."""
        done = subprocess.run([SLIPFORM, 'eventlog', 'verify', spec], capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        for key in self.folder.glob('*.key'):
            self.assertNotIn(key.read_text().splitlines()[1], said)
        return done.returncode, said

    def refused(self, spec, *words):
        code, said = self.verify(spec)
        self.assertNotEqual(code, 0, said)
        for word in words:
            self.assertIn(word, said)


@unittest.skipIf(programs() is None, 'no PostgreSQL in /usr/lib/postgresql: install postgresql-15')
class Postgres(Tls):
    def setUp(self):
        self.port = free_port()
        self.server = self.enter(Server(port=self.port))
        made = subprocess.run([SLIPFORM, 'eventlog', 'create', self.server.owner_spec('one')], capture_output=True, text=True, timeout=60)
        self.assertEqual(made.returncode, 0, made.stderr)

    def tls(self, cert=None, only_tls=True):
        """Roles follow from certificates alone, as docs/operate.md has it."""
        cert, key = cert or self.ca.issue('server', 'localhost')
        data = pathlib.Path(self.server.folder, 'data')
        for source, name in ((cert, 'server.crt'), (key, 'server.key'), (self.ca.cert, 'root.crt')):
            shutil.copy(source, data / name)
            os.chmod(data / name, 0o600)
            if os.geteuid() == 0:
                shutil.chown(data / name, 'postgres', 'postgres')
        (data / 'pg_hba.conf').write_text('local all all trust\nhostssl slipform replica 127.0.0.1/32 cert map=replicas\n')
        (data / 'pg_ident.conf').write_text('replicas op1 replica\n')
        self.server.settings(ssl='on', ssl_cert_file='server.crt', ssl_key_file='server.key', ssl_ca_file='root.crt')
        self.server.restart()

    def spec(self, client=None, ca=None, host='localhost'):
        cert, key = client or self.client
        return (f'postgres;host={host};hostaddr=127.0.0.1;port={self.port};dbname=slipform;user=replica;installation=test;log=one;'
                f'sslrootcert={(ca or self.ca).cert};sslcert={cert};sslkey={key}')

    def test_by_certificates(self):
        self.tls()
        code, said = self.verify(self.spec())
        self.assertEqual((code, 'all good' in said), (0, True), said)
        load = subprocess.Popen([LOAD, self.spec(), 'r'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        timer = threading.Timer(60, load.kill)
        timer.start()
        said = ''
        for line in load.stdout:
            said += line
            if line.startswith('ack 20 '):
                break
        timer.cancel()
        load.communicate(timeout=60)
        self.assertIn('ack 20 ', said)
        self.assertEqual(load.returncode, 0, said)

    def test_what_is_wrong_is_said(self):
        self.tls()
        self.refused(self.spec(ca=self.other), 'certificate verify failed', "'sslrootcert'")
        self.refused(self.spec(host='other.example'), 'localhost', 'does not match host name', 'other.example')
        self.refused(self.spec(client=self.expired), 'expired')
        self.refused(self.spec(client=self.foreign), 'unknown ca')
        self.refused(self.spec(client=self.for_servers), 'unsupported certificate')
        self.refused(self.spec(client=self.stranger), 'certificate authentication failed for user "replica"')
        self.refused(self.spec(client=('/nowhere/none.crt', '/nowhere/none.key')), 'client certificate')
        self.refused(self.spec().split(';sslcert=')[0] + ';sslcert=/nowhere/none.crt', 'requires a valid client certificate')
        self.refused(self.spec(client=(self.client[0], self.stranger[1])), 'private key', 'mismatch')
        self.client[1].chmod(0o644)
        self.addCleanup(self.client[1].chmod, 0o600)
        self.refused(self.spec(), 'group or world access')

    def test_a_server_whose_certificate_is_over(self):
        self.tls(cert=self.ca.issue('server-over', 'localhost', days=-1))
        self.refused(self.spec(), 'certificate verify failed', 'expired')

    def test_a_server_in_the_clear(self):
        self.refused(self.spec(), 'server does not support SSL')


@unittest.skipIf(not NATS.exists(), f'no nats-server at {NATS}: tools/setup builds it')
class JetStream(Tls):
    def serve(self, cert=None, tls=True):
        cert, key = cert or self.ca.issue('server', 'localhost')
        self.port, self.at = free_port(), tempfile.TemporaryDirectory(prefix='slipform-test-nats-', dir='/dev/shm')
        self.addCleanup(self.at.cleanup)
        settings = pathlib.Path(self.at.name, 'nats.conf')
        settings.write_text(f'listen: "127.0.0.1:{self.port}"\nmax_payload: 2MB\njetstream {{ store_dir: "{self.at.name}/data", sync_interval: always }}\n' +
                            (f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{self.ca.cert}", verify: true }}\n' if tls else ''))
        server = subprocess.Popen(['setpriv', '--pdeathsig=KILL', NATS, '-c', settings], stderr=subprocess.PIPE, text=True)
        self.addCleanup(server.wait, 60)
        self.addCleanup(server.kill)
        for line in server.stderr:
            if 'Server is ready' in line:
                break
        else:
            self.fail('nats-server did not start')
        threading.Thread(target=self.drain, args=(server.stderr,), daemon=True).start()

    @staticmethod
    def drain(said):
        with said:
            for _ in said:
                pass

    def spec(self, client=None, ca=None, host='localhost'):
        cert, key = client or self.client
        return (f'jetstream;servers=tls://{host}:{self.port};stream=one;replicas=1;sync=promised;timeout_ms=2000;'
                f'ca={(ca or self.ca).cert};cert={cert};key={key}')

    def test_by_certificates(self):
        self.serve()
        made = subprocess.run([SLIPFORM, 'eventlog', 'create', self.spec()], capture_output=True, text=True, timeout=60)
        self.assertEqual(made.returncode, 0, made.stderr)
        code, said = self.verify(self.spec())
        self.assertEqual((code, 'all good' in said), (0, True), said)

    def test_what_is_wrong_is_said(self):
        self.serve()
        self.refused(self.spec(ca=self.other), 'unable to get local issuer certificate', 'that is the certificate of the server', 'other-ca.crt')
        self.refused(self.spec(host='127.0.0.1'), 'IP address mismatch', 'that is the certificate of the server')
        self.refused(self.spec(client=self.expired), "/expired.crt' has expired on 20", 'renew it')
        self.refused(self.spec(client=self.foreign), "/foreign.crt' is not valid under", 'by the CA that the servers trust')
        self.refused(self.spec(client=self.for_servers), "/for-servers.crt' is for another use", 'clientAuth')
        self.refused(self.spec().split(';cert=')[0], 'no certificate of our own is named')
        self.refused(self.spec(client=('/nowhere/none.crt', '/nowhere/none.key')), "'cert'")

    def test_a_server_whose_certificate_is_over(self):
        self.serve(cert=self.ca.issue('server-over', 'localhost', days=-1))
        self.refused(self.spec(), 'certificate has expired', 'that is the certificate of the server', 'renew it there')

    def test_a_server_in_the_clear(self):
        self.serve(tls=False)
        self.refused(self.spec(), 'that server speaks without TLS', f"'tls://localhost:{self.port}'")


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
