"""Image present to healthy: our whole node-agent against the bare hypervisor, in pairs, in turn.

Ours: from sending POST /v1/instances to a worker's node-agent that has the image in its cache until the agent reports
`running`, NOMINAL (its own time stamp): accepting it durably, tap, rules, cgroup, jail, QEMU, guest, health check.
Bare: build/guest-boot --bare: the same QEMU words, kernel, initramfs, image and guest configuration in the same network
namespace, as root, no limits, jail or sandbox, on a tap that lies ready; from the start until a TCP connect succeeds. It is put into
cgroups beside those of our microVMs, without limits, only so that the scheduler treats both alike: on a busy machine it was
twice as slow outside of them.
"""
import datetime
import json
import pathlib
import select
import socket
import subprocess
import threading
import time
import uuid

from figures import Figure, ROOT
from house import Failed, Inside, until

NODE, TAP, MAC, GATEWAY_MAC = 'w1', 'bench0', '02:be:9c:00:00:01', '02:73:6c:70:00:01'
BOOT_S = 90
# The bare one is asked often, so that our own pauses between checks count against us. More often would fill the guest's
# queue with attempts from before its network was up.
CONNECT_EVERY_S, CONNECT_FOR_S = 0.05, 0.4


def instant(text):
    return datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp()


def said_listening(lines):
    return next((line for line in lines if 'listening' in line.get('text', '')), None)


class Ours:
    def __init__(self, house, template):
        self.agent, self.template, self.number = house.agent(NODE), template, 0xbe0000

    def boot(self):
        """Seconds: all, until START, from there until it listens, from there until it is reported."""
        self.number += 1
        spec = {**self.template, 'instance_id': str(uuid.uuid4()), 'owner': 'bootstrap', 'name': 'bench',
                'address': address(self.template, self.number)}
        path = f"/v1/instances/{spec['instance_id']}"
        begun = time.time()
        self.agent.ask('POST', '/v1/instances', spec)
        doc = self.await_healthy(path)
        healthy = instant(doc['since'])
        start = healthy - doc['statistics']['boot_ms'] / 1000
        line = until(lambda: said_listening(json.loads(text) for text in self.agent.ask('GET', f'{path}/logs').splitlines()),
                     10, 'the line that it listens')
        listening = instant(line['time'])
        self.agent.ask('DELETE', path)
        until(lambda: self.agent.call('GET', path)[0] == 404, 60, 'the microVM to be gone')
        return healthy - begun, start - begun, listening - start, healthy - listening

    def await_healthy(self, path):
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            doc = self.agent.ask('GET', path)
            if doc['status'] == 'failed':
                raise Failed(f'the microVM failed: {doc["cause"]}')
            if (doc['status'], doc.get('health')) == ('running', 'NOMINAL'):
                return doc
            time.sleep(0.1)  # `since` says when it was: looking more often would only cost
        raise Failed(f'the microVM was not healthy within {BOOT_S} s')


def address(template, number):
    prefix = ':'.join(template['address'].split('::')[0].split(':')[:4])
    return f'{prefix}::{number >> 16:x}:{number & 0xffff:x}'


def cgroups_of(pid):
    """Folders of its cgroups that are the platform's, of either version."""
    for line in pathlib.Path(f'/proc/{pid}/cgroup').read_text().splitlines():
        _, names, path = line.split(':', 2)
        if path.startswith('/slipform/'):
            yield next(root for root in (pathlib.Path('/sys/fs/cgroup', names), pathlib.Path('/sys/fs/cgroup/unified'))
                       if (root / path[1:]).is_dir()) / path[1:]


class Bare:
    def __init__(self, house, template, neighbour):
        self.cgroups = [folder.parent / 'bench' for folder in cgroups_of(neighbour['pid'])]
        for folder in self.cgroups:
            folder.mkdir(exist_ok=True)
        self.namespace, self.home, self.template = house.namespace(NODE), pathlib.Path(house.home), template
        self.accelerator = ['--kvm'] if neighbour.get('accelerated') else []
        self.address = address(template, 0xbad0001)
        self.image = self.home / f"nodes/{NODE}/images/{template['image_digest'].split(':')[1]}.erofs"
        for words in (f'tuntap add {TAP} mode tap vnet_hdr', f'link set {TAP} address {GATEWAY_MAC} addrgenmode none up',
                      f'addr add fe80::1/64 dev {TAP} nodad', f'neigh replace {self.address} lladdr {MAC} nud permanent dev {TAP}',
                      f'-6 route add {self.address}/128 dev {TAP}'):
            subprocess.run(['ip', '-n', self.namespace, *words.split()], check=True)

    def command(self, state):
        spec = {**self.template, 'instance_id': str(uuid.uuid4()), 'address': self.address, 'env': [f"PORT={self.template['port']}"]}
        programs = self.home / 'programs'
        return ['nsenter', f'--net=/run/netns/{self.namespace}', ROOT / 'build/guest-boot', '--bare', *self.accelerator, '--state', state,
                '--image', self.image, '--kernel', programs / 'vmlinuz', '--initramfs', programs / 'initramfs.cpio', '--tap', TAP, '--mac', MAC,
                '--ipv6', self.address, '--ipv6-gateway', 'fe80::1', '--ipv4', '100.64.0.9', '--ipv4-gateway', '100.64.0.1',
                '--gateway-mac', GATEWAY_MAC, '--resolver', self.address.split('::')[0] + '::1', '--hostname', 'bench',
                '--spec', json.dumps(spec)]

    def boot(self):
        """Seconds: all, until it listens, from there until a connect succeeds."""
        state = self.home / 'run/bench-bare'
        command = list(map(str, self.command(state)))
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=self.enter_cgroups)
        events, ready = [], []
        reader = threading.Thread(target=self.read, args=(process, events), daemon=True)
        looker = threading.Thread(target=self.look, args=(ready,), daemon=True)
        try:
            reader.start()
            looker.start()
            looker.join()
            until(lambda: said_listening(event for _, event in events), 10, 'the line that it listens')
        finally:
            self.end(process)
            subprocess.run([*command, '--destroy'], check=True)
        if not ready:
            raise Failed(f'the bare microVM did not answer within {BOOT_S} s: {[e for _, e in events][-3:]}')
        begun = min(at - event['ms'] / 1000 for at, event in events)  # without the start of guest-boot itself
        listening = begun + said_listening(event for _, event in events)['ms'] / 1000
        return ready[0] - begun, listening - begun, ready[0] - listening

    def enter_cgroups(self):
        for folder in self.cgroups:
            (folder / 'cgroup.procs').write_text('0')

    def close(self):
        for folder in self.cgroups:
            until(lambda: folder.rmdir() is None, 10, f'{folder} to be empty')

    @staticmethod
    def end(process):
        try:
            if process.poll() is None:
                process.stdin.write(b'kill\n')
                process.stdin.close()
            process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()

    @staticmethod
    def read(process, events):
        for line in process.stdout:
            events.append((time.monotonic(), json.loads(line)))

    def look(self, ready):
        """Connect until it succeeds; some attempts at a time, because a SYN that came too early is lost."""
        with Inside(self.namespace):
            poll, open_sockets, due, deadline = select.poll(), {}, time.monotonic(), time.monotonic() + BOOT_S
            while not ready and time.monotonic() < deadline:
                if time.monotonic() >= due:
                    due = time.monotonic() + CONNECT_EVERY_S
                    s = socket.socket(socket.AF_INET6)
                    s.setblocking(False)
                    s.connect_ex((self.address, self.template['port']))
                    open_sockets[s.fileno()] = (s, time.monotonic())
                    poll.register(s, select.POLLOUT)
                for fd, _ in poll.poll(max(1, (due - time.monotonic()) * 1000)):
                    s, _ = open_sockets.pop(fd)
                    poll.unregister(fd)
                    if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        ready.append(time.monotonic())
                    s.close()
                for fd, (s, since) in list(open_sockets.items()):
                    if time.monotonic() - since > CONNECT_FOR_S or ready:
                        poll.unregister(fd)
                        s.close()
                        del open_sockets[fd]


def measure(house, pairs):
    row = next(r for r in house.agent(NODE).ask('GET', '/v1/instances')['items'] if r.get('project') == 'hello')
    if row['statistics']['runtime'] != 'qemu':
        raise Failed(f"microVMs run by {row['statistics']['runtime']} here; this compares with bare QEMU only")
    template = {key: row['spec'][key] for key in ('process_id', 'runtime', 'image_id', 'image_digest', 'image_size_bytes', 'image_config',
                                                  'address', 'port', 'resources')}
    template.update(name='bench', owner='bootstrap')
    ours, bare, a, b = Ours(house, template), Bare(house, template, row['statistics']), [], []
    try:
        for number in range(-1, pairs):  # the first pair warms the caches and does not count
            for is_ours in ((True, False) if number % 2 else (False, True)):
                (a if is_ours else b).append((ours if is_ours else bare).boot())
    finally:
        bare.close()
    a, b = list(zip(*a[1:])), list(zip(*b[1:]))
    how = 'bare QEMU, same guest'
    return [Figure('image present to healthy', 's', list(a[0]), how, list(b[0])),
            Figure('image present to healthy: accepted to QEMU started', 's', list(a[1])),
            Figure('image present to healthy: started to listening', 's', list(a[2]), how, list(b[1])),
            Figure('image present to healthy: listening to reported', 's', list(a[3]), how, list(b[2]))]
