"""Servers of the bench's own that stores are measured on or beside: NATS and etcd, one or three of them, on the disk of the bench."""
import json
import shutil
import subprocess
import sys

from figures import ROOT
from house import CACHE, HOMES, Failed

sys.path.insert(0, str(ROOT / 'tests/unit'))
import nats_server  # noqa: E402
from nats_server import Servers, free_ports, get  # noqa: E402

NATS_TOOL = CACHE / 'nats-cli/nats'
ETCD = shutil.which('etcd')


class Nats(nats_server.Nats):
    """On the disk of the bench, and what NATS' own tool says of them."""

    def __init__(self, n):
        super().__init__(n, HOMES)

    def tool(self, *words):
        return [NATS_TOOL, '--no-context', '--server', self.urls, *map(str, words)]

    def stream(self, name):
        """Its state, as its leader says."""
        done = subprocess.run(self.tool('stream', 'info', name, '--json'), capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Failed(done.stderr)
        return json.loads(done.stdout)


class Etcd(Servers):
    """With its defaults: each write is flushed to its log before it is acknowledged."""

    def __init__(self, n):
        if ETCD is None:
            raise Failed('there is no etcd: tools/setup bench installs it')
        super().__init__('etcd', n, HOMES)
        ports = free_ports(2 * n)
        self.clients, self.peers = ports[:n], ports[n:]

    def command(self, i):
        here, peer = f'http://127.0.0.1:{self.clients[i]}', f'http://127.0.0.1:{self.peers[i]}'
        members = ','.join(f'{name}=http://127.0.0.1:{port}' for name, port in zip(self.names, self.peers))
        return [ETCD, '--name', self.names[i], '--data-dir', self.folder / self.names[i], '--listen-client-urls', here, '--advertise-client-urls', here,
                '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', members, '--logger', 'zap']

    def is_ready(self):
        answers = [get(f'http://127.0.0.1:{port}/health') for port in self.clients]
        return all(answer and answer.get('health') == 'true' for answer in answers)

    def ports(self, first=0):
        return ','.join(str(self.clients[(first + i) % self.n]) for i in range(self.n))
