"""Who clears away after a run of tests that was killed: no `finally` runs then. A process of its own waits for the end of the run by a pipe; when the run
did not say that it ended well, everything that carries a mark of it goes: processes, installations, network namespaces, tables of nftables, cgroups,
mounts, loop devices, folders. Marks are the run's token (in the environment of whatever it starts), the temporary folders that it made, and names that
are noted.

    guardian.watch()        in conftest.py: from now on
    guardian.well()         at the end of a run that ended by itself: nothing is cleared away, what is left then is a mistake of a test
    guardian.note(name)     a namespace, cgroup or table whose name has this in it is of this run; nothing when nobody watches
"""
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('SLIPFORM_BUILD', ROOT / 'build'))
VARIABLE = 'TEST_RUN_OF_SLIPFORM'  # not SLIPFORM_…: those are settings of programs
GONE_S = 60  # for processes to be gone once they were killed
MARK_SIZE_MIN = 6  # shorter ones are in names of others

watcher = None
make_folder = tempfile.mkdtemp


def note(mark):
    if watcher:
        watcher.stdin.write(f'{mark}\n'.encode())
        watcher.stdin.flush()


def noted_folder(*words, **options):
    folder = make_folder(*words, **options)
    note(os.path.abspath(folder))
    return folder


def watch():
    global watcher
    if watcher:
        return
    token = f'slipform-test-{secrets.token_hex(8)}'
    watcher = subprocess.Popen([sys.executable, __file__, token], stdin=subprocess.PIPE, start_new_session=True)
    os.environ[VARIABLE] = token
    tempfile.mkdtemp = noted_folder


def well():
    global watcher
    if watcher:
        tempfile.mkdtemp = make_folder
        note('well')
        watcher.stdin.close()
        watcher.wait()
        watcher = None


# ---- the other process ----

def run(*command, **options):
    """What it writes. A failure is no matter: what cannot be done is left to the next step, and seen in the end."""
    try:
        return subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300, **options).stdout
    except (OSError, subprocess.SubprocessError):
        return ''


class Marks:
    """Whole words: /tmp/run-7 is not in /tmp/run-74."""

    def __init__(self, all_of_them):
        marks = [m for m in all_of_them if len(m) >= MARK_SIZE_MIN]
        self.folders = [pathlib.Path(m) for m in marks if m.startswith('/')]
        self.pattern = re.compile('(?<![0-9A-Za-z])(?:' + '|'.join(map(re.escape, marks)) + ')(?![0-9A-Za-z])')

    def are_in(self, text):
        return self.pattern.search(text) is not None


def processes(marks, spaces):
    """Those that carry a mark, or are in one of these namespaces."""
    inside = {int(pid) for space in spaces for pid in run('ip', 'netns', 'pids', space).split()}
    for folder in pathlib.Path('/proc').glob('[0-9]*'):
        pid = int(folder.name)
        if pid == os.getpid():
            continue
        try:
            if (folder / 'stat').read_text().rsplit(')', 1)[1].split()[0] in 'ZX':
                continue
            told = b''.join((folder / name).read_bytes() for name in ('environ', 'cmdline', 'cgroup')).decode(errors='replace')
        except OSError:
            continue
        if pid in inside or marks.are_in(told):
            yield pid


def end_processes(marks, spaces):
    end = time.monotonic() + GONE_S
    while (found := list(processes(marks, spaces))) and time.monotonic() < end:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)


def namespaces(marks):
    return [line.split()[0] for line in run('ip', 'netns').splitlines() if marks.are_in(line)]


def end_installations(marks):
    """By those who know best what there is of them."""
    for folder in marks.folders:
        if (folder / 'installation.json').exists():
            run(BUILD / 'slipform', 'down', env={**os.environ, 'SLIPFORM_HOME': str(folder)})
        if (folder / 'node-agent.yaml').exists():
            run(BUILD / 'node-agent', '--config', folder / 'node-agent.yaml', '--stop-all')


def end_tables(marks):
    for line in run('nft', 'list', 'tables').splitlines():
        if marks.are_in(line):
            run('nft', 'delete', *line.split())


def end_cgroups(marks):
    for folder, _, _ in os.walk('/sys/fs/cgroup', topdown=False):
        if '/slipform/' in folder and marks.are_in(folder):
            try:
                os.rmdir(folder)
            except OSError:
                pass


def end_mounts(marks):
    for line in reversed(pathlib.Path('/proc/mounts').read_text().splitlines()):
        at = line.split()[1]
        if any(at.startswith(f'{folder}/') for folder in marks.folders):
            run('umount', '-l', at)
    for line in run('losetup', '-a').splitlines():
        if marks.are_in(line):
            run('losetup', '-d', line.split(':')[0])


def clear(marks):
    spaces = namespaces(marks)
    end_processes(marks, spaces)
    end_installations(marks)
    end_processes(marks, spaces)
    for space in spaces:
        run('ip', 'netns', 'del', space)
    end_tables(marks)
    end_cgroups(marks)
    end_mounts(marks)
    for folder in marks.folders:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    told = sys.stdin.read().splitlines()
    if 'well' not in told:
        clear(Marks([sys.argv[1], *told]))


if __name__ == '__main__':
    main()
