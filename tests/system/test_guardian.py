"""A run of tests that is killed leaves nothing: a process without its environment, a namespace, a cgroup, a folder."""
import os
import pathlib
import subprocess
import sys

import pytest

from platform_world import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='needs root: network namespaces, cgroups')
TESTS = pathlib.Path(__file__).resolve().parent
CGROUP = pathlib.Path('/sys/fs/cgroup/pids' if pathlib.Path('/sys/fs/cgroup/pids').exists() else '/sys/fs/cgroup') / 'slipform'
RUN = '''
import os, subprocess, sys, tempfile
sys.path.insert(0, sys.argv[1])
import guardian
guardian.watch()
folder = tempfile.mkdtemp(prefix='slipform-test-')
name = 'slipform-t-' + os.path.basename(folder)[-8:]
guardian.note(name)
os.makedirs(sys.argv[2] + '/' + name)
subprocess.run(['ip', 'netns', 'add', name], check=True)
apart = dict(env={}, start_new_session=True)
pids = [subprocess.Popen(words, **apart).pid for words in (['/bin/sh', '-c', 'sleep 1000; : ' + folder], ['/usr/sbin/ip', 'netns', 'exec', name, '/bin/sleep', '1000'])]
pids.append(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)
print(folder, name, *pids, flush=True)
if sys.argv[3] == 'well':
    guardian.well()
else:
    sys.stdin.read()
'''


def start(how):
    process = subprocess.Popen([sys.executable, '-c', RUN, TESTS, CGROUP, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder, name, *pids = process.stdout.readline().split()
    return process, folder, name, pids


def left(folder, name, pids):
    spaces = subprocess.run(['ip', 'netns'], capture_output=True, text=True).stdout
    return [what for what, is_there in ((folder, os.path.exists(folder)), (f'cgroup {name}', (CGROUP / name).exists()), (f'namespace {name}', name in spaces),
                                        *((f'process {pid}', os.path.exists(f'/proc/{pid}')) for pid in pids)) if is_there]


def test_a_killed_run_leaves_nothing():
    process, *made = start('killed')
    assert len(left(*made)) == 6, 'there is something that can be left'
    process.kill()
    process.wait()
    until(lambda: not left(*made), lambda: f'nothing is left; {left(*made)}')


def test_a_run_that_ended_by_itself_is_left_alone():
    """What is left then is a mistake of a test, and to be seen. And nobody stays behind who watches."""
    process, *made = start('well')
    try:
        assert process.wait(60) == 0 and len(left(*made)) == 6
    finally:
        folder, name, pids = made
        for pid in pids:
            os.kill(int(pid), 9)
        subprocess.run(['ip', 'netns', 'del', name])
        (CGROUP / name).rmdir()
        os.rmdir(folder)
