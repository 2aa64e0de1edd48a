"""A worker with real microVMs: node-agent in a network namespace of its own, QEMU, our guest kernel and init, a tap each,
the resolver. What the network lets through is proved packet by packet in tests/unit/test_node_network.c."""
import ipaddress
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import textwrap
import uuid

import pytest

import guardian
from agent_world import BUILD, Agent, digest_of, is_alive, wait_for

CACHE = pathlib.Path(os.environ.get('SLIPFORM_CACHE', '/var/cache/slipform'))
KERNEL = CACHE / 'kernel' / 'vmlinuz'
BOOT_S = 300  # emulated, beside other tests

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason='a node-agent is root'),
              pytest.mark.skipif(not KERNEL.exists(), reason='no guest kernel: tools/setup')]

PROGRAM = textwrap.dedent(r'''
    #include <arpa/inet.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    int main(void)
    {
        setvbuf(stdout, NULL, _IOLBF, 0);
        printf("cannot find the database\n");
        if (getenv("MUTE") != NULL)
            pause();
        int fd = socket(AF_INET6, SOCK_STREAM, 0);
        struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(getenv("PORT")))};
        if (bind(fd, (void *)&a, sizeof(a)) != 0 || listen(fd, 16) != 0)
            return 1;
        for (;;) {
            char text[1024], answer[512];
            int c = accept(fd, NULL, NULL);
            if (c < 0 || read(c, text, sizeof(text)) < 0)
                return 2;
            snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(getenv("SLIPFORM_INSTANCE_ID")), getenv("SLIPFORM_INSTANCE_ID"));
            if (write(c, answer, strlen(answer)) < 0)
                return 3;
            close(c);
        }
    }
    ''')


def run(*args, **more):
    return subprocess.run(list(map(str, args)), check=True, capture_output=True, text=True, **more).stdout


@pytest.fixture(scope='module')
def image():
    """A root file system with one static program."""
    with tempfile.TemporaryDirectory(prefix='slipform-image-') as name:
        folder = pathlib.Path(name)
        root = folder / 'root'
        for below in ('dev', 'proc', 'sys', 'tmp', 'etc', 'run', 'app'):
            (root / below).mkdir(parents=True)
        (folder / 'app.c').write_text(PROGRAM)
        run('cc', '-static', '-Os', '-o', root / 'app/app', folder / 'app.c')
        run('mkfs.erofs', '-x-1', folder / 'image', root)
        yield (folder / 'image').read_bytes()


class Worker:
    """A namespace with a fabric of one cable to the machine, as the installer makes it."""

    def __init__(self, folder):
        tag = uuid.uuid4().hex[:4]
        number = int(tag, 16) % 200 + 20
        self.netns, self.outside, self.tag = f'slipform-t{tag}', f'slpt{tag}', tag
        guardian.note(self.netns)
        run('ip', 'netns', 'add', self.netns)
        run('ip', 'link', 'add', self.outside, 'type', 'veth', 'peer', 'name', 'slpfab', 'netns', self.netns)
        run('ip', 'addr', 'add', f'100.127.{number}.1/24', 'dev', self.outside)
        run('ip', 'link', 'set', self.outside, 'up')
        for args in (['link', 'set', 'lo', 'up'], ['link', 'set', 'slpfab', 'up'],
                     ['addr', 'add', f'100.127.{number}.2/24', 'dev', 'slpfab'],
                     ['addr', 'add', f'fd99:0:{tag}::2/64', 'dev', 'slpfab', 'nodad']):
            run('ip', '-n', self.netns, *args)
        self.prefix = f'fd99:0:{tag}:1::'
        self.agent = Agent(folder, installation=f't{tag}', labels=['worker'], host=f'100.127.{number}.2',
                           plane_host=f'100.127.{number}.1', prefix=f'{self.prefix}/64', fabric_interface='slpfab', os_tag=tag,
                           kernel_file=str(KERNEL), initramfs_file=str(BUILD / 'initramfs.cpio'), proxy_port=6101)

    def spec(self, image, host=0x11, **more):
        plane_id = str(uuid.uuid4())
        self.agent.plane.images[plane_id] = image
        return self.agent.spec('web', owner=self.agent.installation, image_id=plane_id, image_digest=digest_of(image),
                               image_size_bytes=len(image), image_config={'entrypoint': ['/app/app']}, port=8080,
                               address=f'{self.prefix}{host:x}', health={'path': '/'},
                               resources={'vcpus': 1, 'memory_bytes': 128 << 20}, stop_grace_seconds=2, **more)

    def ask(self, spec):
        return run('ip', 'netns', 'exec', self.netns, 'curl', '-sS', '-m', '10', f"http://[{spec['address']}]:8080/")

    def close(self):
        try:
            self.agent.close(self.netns)
            assert self.agent.cgroups() == []
            left = run('ip', '-n', self.netns, '-o', 'link') + run('ip', 'netns', 'exec', self.netns, 'nft', 'list', 'ruleset') + \
                run('ip', '-n', self.netns, '-6', 'rule') + run('ip', '-n', self.netns, '-6', 'route', 'show', 'table', 'all')
            assert f'slp{self.tag}' not in left and 'slipform' not in left and '6100' not in left and self.prefix not in left, left
            assert run('ip', 'netns', 'pids', self.netns) == '', 'nothing of it runs'
        finally:
            subprocess.run(['ip', 'netns', 'del', self.netns])


@pytest.fixture
def worker():
    with tempfile.TemporaryDirectory(prefix='slipform-worker-') as name:
        os.chmod(name, 0o755)
        w = Worker(pathlib.Path(name))
        try:
            w.agent.start(netns=w.netns)
            yield w
        finally:
            w.close()


def test_a_microvm_serves_is_restarted_in_place_and_adopted(worker, image):
    agent, plane = worker.agent, worker.agent.plane
    spec = worker.spec(image)
    plane.cut_at = len(image) // 2  # the download breaks off in the middle
    plane.want(spec)
    doc = agent.await_status(spec['instance_id'], 'running', BOOT_S)
    assert any('Range' in headers for _, path, headers in plane.requests if path.endswith('/download')), 'and is gone on with'
    assert worker.ask(spec) == spec['instance_id']
    assert doc['statistics']['runtime'] == 'qemu' and doc['statistics']['boot_ms'] > 0 and doc['ipv6'] == spec['address']
    wait_for('its output', lambda: any(line['text'] == 'cannot find the database' for line in plane.logs))
    report = wait_for('a report with it', lambda: (r := plane.reports[-1])['instances'] and r)
    assert 'qemu' in report['runtimes'] and report['used']['memory_bytes'] == 128 << 20
    rows = {row['check']: row for row in report['preflight']}
    assert rows['probe-guest']['ok'] and rows['qemu']['ok'] and rows['tun']['ok'] and rows['nft']['ok']

    pid = doc['statistics']['pid']
    agent.kill()
    assert worker.ask(spec) == spec['instance_id'], 'the agent is away'
    agent.start(netns=worker.netns)
    doc = agent.await_status(spec['instance_id'], 'running')
    assert doc['statistics']['pid'] == pid and worker.ask(spec) == spec['instance_id']

    os.kill(pid, signal.SIGKILL)
    wait_for('another hypervisor', lambda: agent.instance(spec['instance_id'])['statistics'].get('pid', 0) not in (0, pid), BOOT_S)
    doc = agent.await_status(spec['instance_id'], 'running', BOOT_S)
    assert doc['statistics']['restarts'] == 1 and doc['ipv6'] == spec['address']
    assert worker.ask(spec) == spec['instance_id']

    pid = doc['statistics']['pid']
    agent.stop_all(worker.netns)
    assert not is_alive(pid)
    agent.start(netns=worker.netns)
    agent.await_status(spec['instance_id'], 'running', BOOT_S)
    assert worker.ask(spec) == spec['instance_id'], 'at the same address'
    plane.remove(spec['instance_id'])
    agent.await_gone(spec['instance_id'])
    assert f'slp{worker.tag}' not in run('ip', '-n', worker.netns, '-o', 'link')


def probe_guest(worker, folder='probe'):
    """(pid, of its cgroup) of the guest that a pre-flight boots; None."""
    path = worker.agent.home / folder / 'running.json'
    try:
        pid = json.loads(path.read_text())['pid']
        cgroup = pathlib.Path(f'/proc/{pid}/cgroup').read_text()
    except (OSError, ValueError):
        return None
    return (pid, cgroup) if 'qemu' in pathlib.Path(f'/proc/{pid}/cmdline').read_text() and is_alive(pid) else None


@pytest.mark.parametrize('end', ['kill', 'stop'])
def test_a_probe_guest_ends_with_its_agent(worker, end):
    """However the agent ends while its pre-flight probes: nothing of the guest is left, and the next one is well."""
    agent = worker.agent
    agent.stop()
    (agent.home / 'preflight.json').unlink(missing_ok=True)  # or what was found is believed
    agent.start(netns=worker.netns)
    pid, cgroup = wait_for('a probe guest', lambda: probe_guest(worker))
    assert f'slipform/{agent.installation}-{worker.tag}/n1/probe' in cgroup, 'where whoever looks for leftovers sees it'
    os.kill(pid, signal.SIGSTOP)  # it cannot end by itself
    getattr(agent, end)()
    wait_for('the end of the guest', lambda: not is_alive(pid))
    agent.start(netns=worker.netns)
    wait_for('a pre-flight', lambda: agent.plane.reports and agent.plane.reports[-1].get('runtimes') == ['qemu'], BOOT_S)
    agent.stop_all(worker.netns)
    assert agent.cgroups() == [] and not (agent.home / 'probe').exists()


def test_a_probe_that_failed_is_tried_again(worker):
    """A host that was too busy for it is no worker at first, says why, and becomes one by itself."""
    agent = worker.agent
    agent.stop()
    (agent.home / 'preflight.json').unlink(missing_ok=True)
    del agent.plane.reports[:]
    agent.start(netns=worker.netns)

    def kill_probes():
        if found := probe_guest(worker):
            os.kill(found[0], signal.SIGKILL)
        return [r for r in list(agent.plane.reports) if r['status'] == 'ready']
    ready = wait_for('a pre-flight that failed', kill_probes, BOOT_S)[0]
    assert ready.get('runtimes', []) == [] and 'no microVM could be booted: no guest came up' in ready['cause']
    wait_for('another one', lambda: agent.plane.reports[-1].get('runtimes') == ['qemu'], BOOT_S)
    assert agent.plane.reports[-1].get('cause', '') == ''
    agent.stop_all(worker.netns)


def test_stop_all_sweeps_what_a_probe_left(worker):
    agent = worker.agent
    agent.stop()
    (agent.home / 'preflight.json').unlink(missing_ok=True)
    agent.start(netns=worker.netns)
    pid, _ = wait_for('a probe guest', lambda: probe_guest(worker))
    agent.kill()
    wait_for('the end of the guest', lambda: not is_alive(pid))
    assert agent.cgroups() != [] and (agent.home / 'probe').exists(), 'there is something that can be left'
    agent.stop_all(worker.netns)
    assert agent.cgroups() == [] and not (agent.home / 'probe').exists()


def test_an_agent_that_follows_another_at_once_is_heard(worker, image):
    """A guest whose agent has just gone hears the next one: its STOP reaches the program, whose end is told. (Which of two
    queues the guest's kernel looks at first is chance; test_guest_wire and test_runtime have both orders.)"""
    agent, spec = worker.agent, worker.spec(image)
    agent.plane.want(spec)
    log = agent.home / 'instances' / spec['instance_id'] / 'log/current.ndjson'
    for round_ in range(3):
        agent.await_status(spec['instance_id'], 'running', BOOT_S)
        agent.stop_all(worker.netns)
        ends = log.read_text().count('reboot: Restarting system')
        assert ends == round_ + 1, 'it ended by itself, and was not killed when the grace was over'
        agent.start(netns=worker.netns)


def test_a_program_that_never_listens_is_told_as_such(worker, image):
    spec = worker.spec(image, env=['MUTE=1'], restart='never')
    spec['health']['start_timeout_seconds'] = 15
    worker.agent.plane.want(spec)
    cause = worker.agent.await_status(spec['instance_id'], 'failed', BOOT_S)['cause']
    assert cause == 'program never listened on port 8080 within 15 s; last output: cannot find the database'
    told = wait_for('told', lambda: (s := worker.agent.plane.last_state(spec['instance_id'])) and s['observed'] == 'failed' and s)
    assert told['cause'] == cause and told['health'] == 'TIMEOUT'


def test_an_image_of_another_digest_is_not_started(worker, image):
    spec = worker.spec(image)
    worker.agent.plane.images[spec['image_id']] = image[:-1] + bytes([image[-1] ^ 1])
    worker.agent.plane.want(spec)
    doc = wait_for('a cause', lambda: (d := worker.agent.instance(spec['instance_id'])).get('cause') and d, BOOT_S)
    assert doc['status'] == 'starting' and spec['image_digest'] in doc['cause']
    worker.agent.plane.images[spec['image_id']] = image
    worker.agent.await_status(spec['instance_id'], 'running', BOOT_S)


def test_guests_have_a_resolver(worker):
    address = ipaddress.ip_address(f'{worker.prefix}1')  # as ss writes it: without leading zeros

    def listens():
        return f'[{address}]:53' in run('ip', 'netns', 'exec', worker.netns, 'ss', '-Hlun')
    wait_for('it listens', listens)
    pids = run('ip', 'netns', 'pids', worker.netns).split()
    dns = next(p for p in pids if 'dnsmasq' in pathlib.Path(f'/proc/{p}/comm').read_text())
    worker.agent.kill()
    worker.agent.start(netns=worker.netns)
    assert is_alive(dns), 'an agent is not needed for it'
    os.kill(int(dns), signal.SIGKILL)
    wait_for('gone', lambda: not is_alive(dns))
    wait_for('it listens again', listens)
