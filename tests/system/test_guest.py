"""Real microVMs by the runtime `qemu`, and plain children by `host`, each driven through build/guest-boot."""
import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time
import uuid

import pytest

import guardian
from patience import PATIENCE_S

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('SLIPFORM_BUILD', ROOT / 'build'))
KERNEL = pathlib.Path(os.environ.get('SLIPFORM_CACHE', '/var/cache/slipform')) / 'kernel/vmlinuz'
NAME = f'test-guest-{os.getpid()}'
BOOT_S = PATIENCE_S  # TCG on a busy machine; alone it is under 3

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='microVMs need root')


def is_alive(pid):
    """A zombie is not: who was adopted by PID 1 may stay one for a while."""
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_s(pid):
    """Of a process; inf once it has gone."""
    try:
        fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return float('inf')
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """An erofs with the probe as its only program, a user and a file."""
    guardian.note(NAME)
    folder = tmp_path_factory.mktemp('image')
    tree = folder / 'tree'
    (tree / 'bin').mkdir(parents=True)
    (tree / 'etc').mkdir()
    subprocess.run(['cc', '-static', '-O1', '-w', '-o', tree / 'bin/probe', ROOT / 'tests/system/guest_probe.c'],
                   check=True)
    (tree / 'etc/passwd').write_text('root:x:0:0::/root:/bin/sh\nweb:x:1234:1235::/home/web:/bin/sh\n')
    (tree / 'etc/group').write_text('root:x:0:\nweb:x:1235:\nextra:x:77:other,web\n')
    (tree / 'etc/resolv.conf').symlink_to('/run/elsewhere')
    (tree / 'image-file').write_text('from the image\n')
    subprocess.run(['mkfs.erofs', folder / 'root.erofs', tree], check=True, stdout=subprocess.DEVNULL)
    return folder / 'root.erofs'


class Boot:
    """One run of guest-boot. Events are read by a thread; every wait has a bound."""

    def __init__(self, state, *words, runtime='qemu', adopt=False, prefix=(), **spec):
        self.state = state
        spec = {'instance_id': str(uuid.uuid4()), 'process_id': str(uuid.uuid4()), 'name': 'probe', 'owner': 'test',
                'runtime': runtime, **spec}
        self.prefix = prefix
        self.command = [BUILD / 'guest-boot', '--runtime', runtime, '--state', state, '--kernel', KERNEL,
                        '--initramfs', BUILD / 'initramfs.img', '--cgroup', f'slipform/{NAME}/node/{state.name}',
                        '--spec', json.dumps(spec), *words]
        self.events, self.queue = [], queue.Queue()
        self.process = self.run(['--adopt'] if adopt else [])
        threading.Thread(target=self.read, daemon=True).start()

    def run(self, more):
        return subprocess.Popen(list(map(str, [*self.prefix, *self.command, *more])), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                start_new_session=True)

    def read(self):
        for line in self.process.stdout:
            self.queue.put(json.loads(line))
        self.queue.put(None)

    def wait(self, is_it, timeout=BOOT_S):
        deadline = time.monotonic() + timeout
        while True:
            event = self.queue.get(timeout=max(0.01, deadline - time.monotonic()))
            assert event is not None, f'guest-boot has ended: {self.events[-5:]}'
            self.events.append(event)
            if is_it(event):
                return event

    def wait_line(self, text):
        return self.wait(lambda e: e['event'] == 'line' and e['text'] == text)

    def wait_exit(self, timeout=BOOT_S):
        return self.wait(lambda e: e['event'] == 'exit', timeout)

    def say(self, command):
        self.process.stdin.write(f'{command}\n'.encode())
        self.process.stdin.flush()

    def lines(self, stream='stdout'):
        return [e['text'] for e in self.events if e['event'] == 'line' and e['stream'] == stream]

    def values(self, key):
        return [line[len(key) + 2:] for line in self.lines() if line.startswith(f'{key}: ')]

    def crash(self):
        """What kill -9 of the node-agent is to an instance."""
        self.process.kill()
        self.process.wait()

    def destroy(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + 60
        while subprocess.run(list(map(str, [*self.command, '--destroy'])), stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline, 'processes are left in the cgroup'
            time.sleep(0.05)
        assert not self.state.exists()


@pytest.fixture
def boot(tmp_path, image):
    boots = []

    def make(*words, argv=None, config=None, state='state', **more):
        if argv is not None:
            config = {'entrypoint': ['/bin/probe'], 'cmd': argv, **(config or {})}
            words = ('--image', image, *words)
        b = Boot(tmp_path / state, *words, image_config=config or {}, **more)
        boots.append(b)
        return b

    yield make
    for b in boots:
        b.destroy()
    leftover = [p for c in ('cpu', 'memory', 'pids') for p in pathlib.Path(f'/sys/fs/cgroup/{c}/slipform').glob(NAME)]
    assert not leftover


def test_guest_has_what_its_spec_says(boot):
    before = time.time()
    b = boot('--hostname', 'guest-7', argv=['show', 'two words'], env=['PORT=9090', 'A=spec'],
             config={'env': ['A=image', 'B=image', 'NO_VALUE'], 'user': 'web', 'workdir': '/srv/made'},
             resources={'memory_bytes': 160 << 20})
    started, ended = b.wait(lambda e: e['event'] == 'started'), b.wait_exit()
    assert ended['ok'] and ended['code'] == 0 and ended['cause'] == 'the program exited with code 0'
    assert started['pid'] > 0 and started['accelerated'] is False
    assert b.values('uid') == ['1234'] and b.values('gid') == ['1235'] and b.values('group') == ['77']
    assert b.values('ppid') == ['1'] and b.values('session') == ['1']
    assert b.values('cwd') == ['/srv/made'] and b.values('hostname') == ['guest-7']
    assert b.values('arg') == ['/bin/probe', 'show', 'two words']
    env = dict(e.split('=', 1) for e in b.values('env'))
    assert env == {'A': 'spec', 'B': 'image', 'PORT': '9090', 'HOME': '/home/web', 'HOSTNAME': 'guest-7',
                   'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'}
    assert b.values('image') == ['from the image']
    assert b.values('tmp') == ['written'] and b.values('image-write') == ['Permission denied']
    assert 60 <= int(b.values('overlay-mib')[0]) <= 80, 'half of the memory'
    assert b.values('dev-stderr') == ['opened']
    assert b.lines('stderr') == ['to stderr']
    assert before - 2 <= int(b.values('clock')[0]) <= time.time() + 2
    assert 'PORT' not in b.values('cmdline')[0], 'nothing of the configuration is on a command line'


def test_root_is_writable_for_root_and_never_the_image(boot, image):
    bytes_before = image.read_bytes()
    b = boot(argv=['show'])
    assert b.wait_exit()['ok']
    assert b.values('uid') == ['0'] and b.values('image-write') == ['written']
    assert image.read_bytes() == bytes_before


@pytest.mark.parametrize('argv,expected', [
    (['exit', '3'], {'code': 3, 'signal': 0, 'cause': 'the program exited with code 3'}),
    (['raise', '11'], {'signal': 11, 'cause': 'the program was killed by signal 11 (Segmentation fault)'}),
    (['memory'], {'signal': 9, 'cause': 'the program was killed by signal 9 (Killed); the microVM ran out of its '
                                        '128 MiB of memory'}),
])
def test_end_of_the_program_is_reported(boot, argv, expected):
    ended = boot(argv=argv, resources={'memory_bytes': 128 << 20}).wait_exit()
    assert {k: ended[k] for k in expected} == expected and not ended['ok'] and ended['known']


@pytest.mark.parametrize('config,cause', [
    ({'entrypoint': []}, 'the image names no program: give its Dockerfile a CMD or ENTRYPOINT'),
    ({'entrypoint': ['nothing']}, "the image has no program 'nothing' on its PATH"),
    ({'user': 'nobody-here'}, "the image has no user 'nobody-here'"),
    ({'entrypoint': ['/etc/passwd']}, "the image has no program '/etc/passwd' (or it may not be executed)"),
])
def test_why_a_program_cannot_start(boot, config, cause):
    b = boot(argv=[], config=config)
    ended = b.wait_exit()
    assert ended['cause'] == cause and not ended['ok']
    assert not [e for e in b.events if e['event'] == 'started']


def test_stop_gives_grace_then_kills(boot):
    b = boot(argv=['signal'])
    b.wait_line('ready')
    b.say('stop 200000')
    ended = b.wait_exit()
    assert ended['code'] == 7 and f'signal {int(signal.SIGTERM)}' in b.lines()

    other = boot(argv=['signal'], config={'stop_signal': 'SIGUSR1'}, state='other')
    other.wait_line('ready')
    other.say('stop 200000')
    assert other.wait_exit()['code'] == 7 and f'signal {int(signal.SIGUSR1)}' in other.lines()

    stubborn = boot(argv=['ignore-term'], state='stubborn')
    stubborn.wait_line('ready')
    asked = time.monotonic()
    stubborn.say('stop 1000')
    ended = stubborn.wait_exit()
    assert ended['signal'] == signal.SIGKILL and time.monotonic() - asked >= 1


def test_orphans_are_reaped(boot):
    b = boot(argv=['orphans', '20'])
    assert b.wait_exit()['ok'] and 'reaped' in b.lines()


def test_death_of_the_hypervisor_is_reported(boot):
    b = boot(argv=['signal'])
    pid = b.wait(lambda e: e['event'] == 'started')['pid']
    os.kill(pid, signal.SIGKILL)
    ended = b.wait_exit()
    assert ended['signal'] == signal.SIGKILL and ended['cause'] == 'the microVM was killed by signal 9 (Killed)'


def test_hypervisor_has_no_rights(boot):
    b = boot(argv=['signal'])
    pid = b.wait(lambda e: e['event'] == 'started')['pid']
    status = dict(line.split(':\t', 1) for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines()
                  if ':\t' in line)
    assert status['Uid'].split()[0] != '0' and status['Groups'].strip() == ''
    assert int(status['CapEff'], 16) == 0 and int(status['CapBnd'], 16) == 0
    assert status['NoNewPrivs'] == '1' and status['Seccomp'] == '2'
    assert os.readlink(f'/proc/{pid}/ns/net') != os.readlink('/proc/self/ns/net')
    assert sorted(os.listdir(f'/proc/{pid}/root')) == ['dev', 'initramfs', 'kernel', 'lib', 'lib64', 'usr']
    assert os.listdir(f'/proc/{pid}/root/dev') == []
    assert f'slipform/{NAME}' in pathlib.Path(f'/proc/{pid}/cgroup').read_text()
    assert 'PORT' not in pathlib.Path(f'/proc/{pid}/cmdline').read_text()


def test_restart_of_the_agent_loses_nothing(boot, tmp_path):
    b = boot(argv=['count', '100', '50'])
    b.wait_line('count 5')
    b.crash()
    time.sleep(1)  # the program goes on meanwhile: that is the point
    again = Boot(tmp_path / 'state', adopt=True, image_config={})
    try:
        ended = again.wait_exit()
    finally:
        again.crash()
    assert ended['code'] == 5 and ended['known']
    while not b.queue.empty() and (event := b.queue.get()) is not None:
        b.events.append(event)
    seen = b.lines() + again.lines()
    assert list(dict.fromkeys(seen)) == [f'count {i}' for i in range(1, 101)], 'each line, in order'
    assert [e for e in again.events if e['event'] == 'started']


def test_stop_after_a_restart_of_the_agent(boot, tmp_path):
    b = boot(argv=['signal'])
    b.wait_line('ready')
    b.crash()
    again = Boot(tmp_path / 'state', adopt=True, image_config={})
    try:
        again.wait(lambda e: e['event'] == 'started')
        again.say('stop 200000')
        assert again.wait_exit()['code'] == 7
    finally:
        again.crash()


def test_output_kept_while_the_agent_is_away_is_bounded(boot, tmp_path):
    b = boot(argv=['count', '200000', '0'])
    started = b.wait(lambda e: e['event'] == 'started')['pid']
    b.crash()
    used_s = cpu_s(started)
    deadline = time.monotonic() + PATIENCE_S
    while is_alive(started) and cpu_s(started) < used_s + 3:  # of work, however long the machine takes for it
        assert time.monotonic() < deadline, 'it does not work without an agent'
        time.sleep(0.1)
    again = Boot(tmp_path / 'state', adopt=True, image_config={})
    try:
        again.wait(lambda e: e['event'] == 'line' and 'slipform: dropped' in e['text'])
    finally:
        again.crash()


def test_hostile_output_is_bounded(boot):
    b = boot(argv=['long', str(1 << 20)])
    assert b.wait_exit()['ok']
    first, note, after = b.lines()
    assert first == 'x' * 8192 and after == 'after'
    assert note == f'slipform: the line above goes on for {(1 << 20) - 8192} bytes'


def test_hostile_guest_stays_inside(boot):
    b = boot(argv=['hostile'])
    ended = b.wait_exit()
    assert 'port: Device or resource busy' in b.lines()
    assert any(line.startswith('?\x01\ufffd\x1b[31m') for line in b.lines()), 'any bytes are a line'
    assert ended['cause'].startswith("the microVM's kernel stopped: Kernel panic"), ended


def test_http_over_its_own_tap(boot):
    ns, tap = f'slipform-{NAME}', 'slpt0'
    guest, gateway, mac = 'fd00:6100::2', 'fd00:6100::1', '02:53:4c:00:00:02'
    def ip(*words):
        subprocess.run(['ip', '-n', ns, *words], check=True)
    subprocess.run(['ip', 'netns', 'add', ns], check=True)
    try:
        subprocess.run(['ip', '-n', ns, 'link', 'set', 'lo', 'up'], check=True)
        ip('tuntap', 'add', tap, 'mode', 'tap', 'vnet_hdr')
        ip('link', 'set', tap, 'address', '02:53:4c:00:00:01', 'addrgenmode', 'none', 'up')
        ip('-6', 'addr', 'add', f'{gateway}/128', 'dev', 'lo', 'nodad')
        ip('-6', 'route', 'add', f'{guest}/128', 'dev', tap)
        ip('-6', 'neigh', 'add', guest, 'lladdr', mac, 'nud', 'permanent', 'dev', tap)
        ip('addr', 'add', '100.64.0.1/32', 'dev', 'lo')
        ip('route', 'add', '100.64.0.2/32', 'dev', tap)
        ip('neigh', 'add', '100.64.0.2', 'lladdr', mac, 'nud', 'permanent', 'dev', tap)
        b = boot('--tap', tap, '--mac', mac, '--ipv6', guest, '--ipv6-gateway', gateway, '--ipv4', '100.64.0.2',
                 '--ipv4-gateway', '100.64.0.1', '--gateway-mac', '02:53:4c:00:00:01', '--resolver', gateway,
                 argv=['serve', '8080'], config={'user': '1234:77'},
                 prefix=['nsenter', f'--net=/run/netns/{ns}'])
        b.wait_line('listening')
        for address in (f'[{guest}]', '100.64.0.2'):
            answer = subprocess.run(['nsenter', f'--net=/run/netns/{ns}', 'curl', '-sg', '--max-time', '10',
                                     f'http://{address}:8080/'], capture_output=True, text=True)
            assert answer.stdout == 'probe\n', (address, answer)
        b.say('kill')
        b.wait_exit()
    finally:
        subprocess.run(['ip', 'netns', 'del', ns])


def test_network_inside(boot):
    b = boot('--ipv6', 'fd00:6100::2', argv=['show'])
    ended = b.wait_exit()
    assert ended['cause'] == "find interface 'eth0': No such device", 'an address without a tap is an error'


def test_probe_of_the_preflight(tmp_path):
    command = [BUILD / 'guest-boot', '--state', tmp_path / 'probe', '--kernel', KERNEL, '--initramfs',
               BUILD / 'initramfs.img', '--probe']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    result = json.loads(done.stdout)
    assert result['ok'] and result['kernel'] and result['memory_bytes'] > 50 << 20, result
    assert not (tmp_path / 'probe').exists()

    (tmp_path / 'not-a-kernel').write_bytes(b'x' * 100000)
    command[command.index(KERNEL)] = tmp_path / 'not-a-kernel'
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    result = json.loads(done.stdout)
    assert done.returncode == 1 and not result['ok'] and 'no guest came up' in result['detail']


def script(tmp_path, text):
    path = tmp_path / 'program'
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


def test_host_program(boot, tmp_path):
    program = script(tmp_path, 'echo "args $*"; echo "$A $B"; id -u; echo err >&2; exit 4')
    b = boot('--program', program, '--config', '/some/file', runtime='host', env=['A=1', 'B=2'])
    ended = b.wait_exit()
    assert ended['code'] == 4 and b.lines() == ['args --config /some/file', '1 2', '0'] and b.lines('stderr') == ['err']


def test_host_program_survives_the_agent(boot, tmp_path):
    program = script(tmp_path, 'trap "echo bye; exit 0" TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done')
    tmp_path.chmod(0o755)
    b = boot('--program', program, runtime='host')
    b.wait_line('5')
    b.crash()
    time.sleep(0.5)  # the program goes on meanwhile
    again = Boot(tmp_path / 'state', '--program', program, runtime='host', adopt=True)
    try:
        again.wait(lambda e: e['event'] == 'line' and int(e['text']) > 20)
        again.say('stop 100000')
        ended = again.wait_exit()
    finally:
        again.crash()
    assert not ended['known'] and 'adopted' in ended['cause'] and again.lines()[-1] == 'bye'
    while not b.queue.empty() and (event := b.queue.get()) is not None:
        b.events.append(event)
    numbers = [int(n) for n in dict.fromkeys(b.lines() + again.lines()[:-1])]
    assert numbers == list(range(1, len(numbers) + 1))


def test_host_program_without_rights(boot, tmp_path):
    program = script(tmp_path, 'id -u; id -g; grep CapEff /proc/self/status')
    for folder in [tmp_path, *tmp_path.parents]:
        if str(folder).startswith('/tmp/pytest'):
            folder.chmod(0o755)
    b = boot('--program', program, runtime='host', run_as='slipform', capabilities=['NET_ADMIN'])
    assert b.wait_exit()['code'] == 0
    assert b.lines() == ['65534', '65534', 'CapEff:\t0000000000001000']


def test_host_flood_is_bounded(boot, tmp_path):
    program = script(tmp_path, 'yes flood | head -n 300000; sleep 1; echo end')
    b = boot('--program', program, runtime='host')
    assert b.wait_exit()['code'] == 0
    assert 'end' in b.lines() and len(b.lines()) < 150000
    assert any('slipform: dropped' in line for line in b.lines('stderr'))


def test_null_runtime(boot):
    b = boot(runtime='null')
    b.wait(lambda e: e['event'] == 'started')
    b.say('stop 0')
    assert b.wait_exit()['ok']
