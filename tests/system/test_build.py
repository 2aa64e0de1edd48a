"""The build core for real: buildah, the local registry, mkfs.erofs. Needs root and what tools/setup prepares."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import tarfile
import time

import pytest

import guardian

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get('SLIPFORM_CACHE', '/var/cache/slipform'))
INSTALLATION = f'test-build-{os.getpid()}'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='builds need root')


class Builder:
    def __init__(self, folder):
        self.blobs, self.work = folder / 'blobs', folder / 'work'

    def put(self, data):
        digest = hashlib.sha256(data).hexdigest()
        path = self.blobs / 'sha256' / digest[:2] / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f'sha256:{digest}'

    def get(self, digest):
        return self.blobs / 'sha256' / digest[7:9] / digest[7:]

    def request(self, context_digest, **more):
        return {'installation': INSTALLATION, 'context_digest': context_digest, 'blobs': f'folder;path={self.blobs}',
                'work_folder': str(self.work), 'registry_folder': str(CACHE / 'registry'),
                'environment_file': str(CACHE / 'build-environment'), **more}

    def start(self, context, output=subprocess.PIPE, **more):
        """(process, descriptor of the result)"""
        reader, writer = os.pipe()
        core = subprocess.Popen(['bash', '-c', f'exec "$0" --core 3>&{writer}', ROOT / 'build/image-builder'],
                                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, pass_fds=[writer])
        os.close(writer)
        core.stdin.write(json.dumps(self.request(self.put(context), **more)).encode())
        core.stdin.close()
        return core, reader

    def build(self, context, **more):
        """(exit code, result, output)"""
        core, reader = self.start(context, **more)
        output = core.stdout.read().decode()
        code = core.wait(timeout=600)
        with os.fdopen(reader) as result:
            return code, json.loads(result.read()), output


def tar(files):
    """name -> text, bytes, or a TarInfo"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as archive:
        for name, content in files.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b'' if info is content else content if isinstance(content, bytes) else content.encode()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def leftovers():
    """Objects of the operating system that carry our names."""
    tables = subprocess.run(['nft', 'list', 'tables'], capture_output=True, text=True, check=True).stdout
    links = subprocess.run(['ip', '-o', 'link'], capture_output=True, text=True, check=True).stdout
    cgroups = [str(p) for p in pathlib.Path('/sys/fs/cgroup').glob(f'**/slipform/{INSTALLATION}')]
    found = re.findall(rf'slipform_{INSTALLATION}\S*', tables) + cgroups
    # links carry the build's tag only: those whose table is gone belong to nobody
    tags = set(re.findall(r'_build_([0-9a-f]{8})', tables))
    return found + [tag for tag in re.findall(r'slpb([0-9a-f]{8})', links) if tag not in tags]


@pytest.fixture(scope='module')
def builder(tmp_path_factory):
    guardian.note(INSTALLATION)
    return Builder(tmp_path_factory.mktemp('builder'))


@pytest.fixture(autouse=True)
def leaves_nothing():
    yield
    deadline = time.monotonic() + 60  # a network namespace ends a little after its last process
    while leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers() == []


def hello_context():
    folder = ROOT / 'examples/hello'
    return {name: (folder / name).read_bytes() for name in ('Dockerfile', '.dockerignore', 'VERSION', 'hello.c')}


def read_erofs(image, mount_point, paths):
    """Contents of files in an image: mounted in a mount namespace that ends with the command."""
    mount_point.mkdir(exist_ok=True)
    script = 'mount -t erofs -o loop,ro "$1" "$2" && shift && cd "$1" && shift && sha256sum "$@" && find . | wc -l'
    return subprocess.run(['unshare', '--mount', 'sh', '-ec', script, 'sh', image, mount_point, *paths], check=True,
                          capture_output=True, text=True).stdout


def test_hello_becomes_a_file_system(builder, tmp_path):
    code, result, output = builder.build(tar(hello_context()))
    assert code == 0, output
    assert result['status'] == 'ready'
    assert result['config']['cmd'] == ['hello'] and result['config']['user'] == 'nobody'
    assert [e for e in result['config']['env'] if not e.startswith('PATH=')] == []
    image = builder.get(result['digest'])
    assert image.stat().st_size == result['size_bytes'] and result['size_bytes'] % 512 == 0
    assert 'sha256:' + hashlib.sha256(image.read_bytes()).hexdigest() == result['digest']
    assert image.read_bytes()[1024:1028] == bytes.fromhex('e2e1f5e0')  # EROFS super block magic, little endian
    listing = read_erofs(image, tmp_path / 'mnt', ['usr/bin/hello', 'bin/sh'])
    assert 'usr/bin/hello' in listing and int(listing.split()[-1]) > 50


def test_the_same_context_gives_the_same_digest(builder):
    first = builder.build(tar(hello_context()))[1]
    again = builder.build(gzip.compress(tar(dict(reversed(hello_context().items())))))[1]  # other bytes, same content
    assert first['digest'] == again['digest']
    changed = builder.build(tar({**hello_context(), 'VERSION': '2\n'}))[1]
    assert changed['status'] == 'ready' and changed['digest'] != first['digest']


def test_hello_answers(builder, tmp_path):
    """The program out of the image, as the contract says it answers."""
    result = builder.build(tar(hello_context()))[1]
    (tmp_path / 'mnt').mkdir()
    program = tmp_path / 'hello'
    subprocess.run(['unshare', '--mount', 'sh', '-ec', 'mount -t erofs -o loop,ro "$1" "$2" && cp "$2/usr/bin/hello" "$3"',
                    'sh', builder.get(result['digest']), tmp_path / 'mnt', program], check=True)
    import http.client
    import socket
    with socket.create_server(('::1', 0), family=socket.AF_INET6) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([program], env={'PORT': str(port), 'SLIPFORM_INSTANCE_ID': 'i1', 'SLIPFORM_DEPLOYMENT_ID': 'd1'},
                              stderr=subprocess.PIPE, text=True)
    try:
        assert 'listening' in server.stderr.readline()
        client = http.client.HTTPConnection('::1', port, timeout=60)
        for _ in range(2):  # keep-alive
            client.request('GET', '/')
            answer = client.getresponse()
            version = (ROOT / 'examples/hello/VERSION').read_text().strip()
            assert json.loads(answer.read()) == {'instance_id': 'i1', 'deployment_id': 'd1', 'version': version}
        client.request('GET', '/slow?ms=600')
        time.sleep(0.1)
        server.send_signal(signal.SIGTERM)  # what is in flight is finished, then it exits with 0
        assert json.loads(client.getresponse().read())['version'] == version
        assert server.wait(timeout=60) == 0
    finally:
        server.kill()


def test_a_failing_step_is_told(builder):
    code, result, _ = builder.build(tar({'Dockerfile': 'FROM busybox\nRUN echo one; echo two >&2; exit 7\nCMD x\n'}))
    assert code == 1 and result['status'] == 'failed'
    assert "step 2 of 3, 'RUN echo one; echo two >&2; exit 7'" in result['cause']
    assert 'exit status 7' in result['cause'] and 'one' in result['cause'] and 'two' in result['cause']
    assert len(result['cause'].encode()) <= 4096


@pytest.mark.parametrize('dockerfile, told', [
    ('FROM no.such/image:1\nCMD x\n', "base image 'no.such/image:1'"),
    ('FROM busybox\nCOPY nothere /x\nCMD x\n', '.dockerignore'),
    ('', 'Dockerfile is empty'),
    ('FROM scratch\nCOPY Dockerfile /\n', 'CMD or ENTRYPOINT'),
])
def test_what_to_do_is_told(builder, dockerfile, told):
    code, result, output = builder.build(tar({'Dockerfile': dockerfile}))
    assert code == 1 and told in result['cause'], output


def test_a_missing_dockerfile_is_told(builder):
    code, result, _ = builder.build(tar({'README.md': 'x'}))
    assert code == 1 and result['cause'] == "no file 'Dockerfile' in the build context, which has: README.md"


def test_a_hostile_tar_is_refused(builder, tmp_path):
    target = tmp_path / 'outside'
    target.mkdir()
    link = tarfile.TarInfo('dir')
    link.type, link.linkname = tarfile.SYMTYPE, str(target)
    for files in ({'../escaped': 'x'}, {'/escaped': 'x'}, {'dir': link, 'dir/escaped': 'x'}):
        code, result, _ = builder.build(tar({'Dockerfile': 'FROM busybox\n', **files}))
        assert code == 1 and 'the context has' in result['cause']
    assert list(target.iterdir()) == [] and not pathlib.Path('/escaped').exists()
    assert builder.build(b'this is no tar')[1]['cause'].startswith('the context is not a tar archive')


def test_a_build_reaches_no_private_address(builder):
    """A server on this machine, tried on every address that the machine has, and on the build's gateway."""
    import socket
    own = subprocess.run(['hostname', '-I'], capture_output=True, text=True, check=True).stdout.split()
    with socket.create_server(('0.0.0.0', 0)) as server:
        port = server.getsockname()[1]
        addresses = [a for a in own if ':' not in a] + ['127.0.0.1', '$(ip route | sed -n "s/default via \\([^ ]*\\).*/\\1/p")']
        tries = ' '.join(f'nc -w 2 {a} {port} </dev/null && echo reached {a};' for a in addresses)
        tries = f'for i in 1 2 3 4 5; do nc -w 2 127.0.0.1 5000 </dev/null && echo the registry answers && break; done; {tries}'  # nc can reach what is allowed
        code, _, output = builder.build(tar({'Dockerfile': f'FROM busybox\nRUN ip route; {tries} echo tried\nCMD x\n'}))
    assert code == 0 and '\nthe registry answers\n' in output and '\ntried' in output
    assert '\nreached' not in output


def test_a_build_that_takes_too_long_is_stopped(builder):
    for seconds in (3, 15, 75):  # until it gets as far as to say something within its time
        code, result, _ = builder.build(tar({'Dockerfile': 'FROM busybox\nRUN echo begun; sleep 1000\nCMD x\n'}), timeout_seconds=seconds)
        assert code == 1 and f'longer than {seconds} s' in result['cause']
        if 'begun' in result['cause']:
            return
    raise AssertionError(result)


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_build_leaves_nothing(builder, how):
    core, reader = builder.start(tar({'Dockerfile': f'FROM busybox\nRUN echo be{how.value}gun; sleep 1000\nCMD x\n'}))
    for line in core.stdout:
        if line.strip() == f'be{how.value}gun'.encode():
            break
    assert leftovers() != []  # there is something that can be left
    core.send_signal(how)
    core.wait(timeout=120)
    with os.fdopen(reader) as result:
        text = result.read()
    if how == signal.SIGTERM:
        assert json.loads(text)['cause'] == 'the build was stopped before its end'
    else:  # empty cgroups stay until the next build
        assert builder.build(tar({'Dockerfile': 'FROM busybox\n'}))[0] == 0


def let_go(word):
    """Make the file /tmp/<word> that a step of a build waits for, in that step's own root."""
    for process in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            command = (process / 'cmdline').read_bytes()
            if command.startswith(b'/bin/sh\0-c\0echo first') and word.encode() in command:
                (process / 'root/tmp' / word).touch()
        except OSError:
            pass  # it has ended


def test_builds_wait_for_each_other(builder):
    word = f'wait-{os.getpid()}'
    slow, slow_reader = builder.start(tar({'Dockerfile': f'FROM busybox\nRUN echo first; while [ ! -e /tmp/{word} ]; do sleep 0.1; done\nCMD x\n'}), no_cache=True)
    for line in slow.stdout:
        if line.strip() == b'first':
            break
    second, second_reader = builder.start(tar({'Dockerfile': 'FROM busybox\nCMD y\n'}))
    assert second.stdout.readline().startswith(b'waiting for another build')
    let_go(word)
    second.stdout.read()
    assert second.wait(timeout=300) == 0
    os.close(second_reader)
    assert slow.wait(timeout=300) == 0
    with os.fdopen(slow_reader) as first:
        assert json.loads(first.read())['status'] == 'ready'


class Management:
    """The one route of the management API that a builder uses; remembers what was reported."""

    def __enter__(self):
        import http.server
        import threading
        reports = self.reports = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
                reports.append((self.path, body))
                self.send_response(200)
                self.send_header('Content-Length', '2')
                self.end_headers()
                self.wfile.write(b'{}')

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


IMAGE_ID = '0192f0c1-0000-7000-8000-00000000000a'


def image_builder(builder, management, context):
    """The program as a node-agent starts it: settings by file and environment."""
    settings = builder.work.parent / 'image-builder.yaml'
    settings.write_text(f'management_url: [{management.url}]\nblob_folder: {builder.blobs}\nwork_folder: {builder.work}\n'
                        f'cache_folder: {CACHE}\n')
    env = {'SLIPFORM_INSTALLATION': INSTALLATION, 'SLIPFORM_IMAGE_ID': IMAGE_ID, 'SLIPFORM_METRICS_LISTEN': 'none',
           'SLIPFORM_CONTEXT_DIGEST': builder.put(context)}
    return subprocess.Popen([ROOT / 'build/image-builder', '--config', settings], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def test_image_builder_reports_an_image_twice_the_same(builder):
    with Management() as management:
        for _ in range(2):
            program = image_builder(builder, management, tar(hello_context()))
            output, errors = program.communicate(timeout=600)
            assert program.returncode == 0, errors
            assert b'STEP' in output
    assert {path for path, _ in management.reports} == {f'/v1/images/{IMAGE_ID}/status'}
    assert [body['status'] for _, body in management.reports] == ['building', 'ready', 'building', 'ready']
    first, second = management.reports[1][1], management.reports[3][1]
    assert first == second and builder.get(first['digest']).stat().st_size == first['size_bytes']


def test_image_builder_reports_a_failure(builder):
    with Management() as management:
        program = image_builder(builder, management, tar({'Dockerfile': 'FROM busybox\nRUN exit 9\n'}))
        program.communicate(timeout=600)
    assert program.returncode == 1
    assert [body['status'] for _, body in management.reports] == ['building', 'failed']
    assert 'exit status 9' in management.reports[1][1]['cause']


def test_image_builder_that_was_stopped_leaves_it_to_the_planner(builder):
    with Management() as management:
        program = image_builder(builder, management, tar({'Dockerfile': 'FROM busybox\nRUN echo running; sleep 1000\nCMD x\n'}))
        for line in program.stdout:
            if line == b'running\n':
                break
        program.terminate()
        program.communicate(timeout=120)
    assert [body['status'] for _, body in management.reports] == ['building'], 'it says nothing of the build: another builder tries it'


def test_image_builder_says_what_is_missing():
    program = subprocess.run([ROOT / 'build/image-builder'], env={}, capture_output=True, text=True)
    assert program.returncode != 0 and 'management_url' in program.stderr
