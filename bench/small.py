"""Memory at rest, an `up` that finds everything healthy, and the append of an event."""
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from figures import Figure, ROOT
from house import HOMES, Failed


def resident_mib(pid):
    text = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(re.search(r'^VmRSS:\s+(\d+) kB', text, re.M)[1]) / 1024


def memory(house):
    """One row a program; several of one program are its samples. VmRSS counts pages that they share for each of them."""
    pids = {}
    for program in house.json('status')['programs']:
        pids.setdefault(program['name'], []).append(program['pid'])
    pids["edge-proxy's Envoy"] = house.processes(rb'envoy/envoy\0.*run/edge')
    pids["node-proxy's Envoy"] = house.processes(rb'envoy/envoy\0.*run/w\d')
    pids['microVM of hello (QEMU)'] = [row['pid'] for row in house.instances(project='hello')]
    return [Figure(f'memory at rest: {name}', 'MiB', [resident_mib(pid) for pid in of_it]) for name, of_it in pids.items() if of_it]


def up_again(house, times):
    ours, curl = [], []
    status = house.status
    call = ['curl', '-sf', '--cacert', status['ca_file'], '--cert', status['client_cert_file'], '--key', status['client_key_file'],
            '-o', '/dev/null', status['endpoints']['management_api'] + '/readyz']
    for _ in range(times):
        begun = time.monotonic()
        done = house.up()
        ours.append(time.monotonic() - begun)
        if 'Healthy already' not in done.stdout:
            raise Failed(f'this `slipform up` had something to do: {done.stdout}')
        begun = time.monotonic()
        subprocess.run(call, check=True)
        curl.append(time.monotonic() - begun)
    return [Figure('slipform up, all healthy', 's', ours, 'curl of /readyz', curl)]


# Events, and times that people deploy: of what is over the model keeps the newest, so ten times as many must not make a start longer.
HISTORIES = {'short': (100_000, 2400), 'long': (1_000_000, 2400), 'grown': (1_000_000, 1_000_000)}


def start(rounds, scale=1):
    """The control plane from its start until it is live: its log has a long history, recorded by bench-record."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix='bench-start-', dir=HOMES))
    try:
        for name, (events, deployments) in HISTORIES.items():
            subprocess.run([ROOT / 'build/bench/bench-record', folder / name, str(events // scale), '1', str(deployments // scale)], check=True, capture_output=True)
        done = subprocess.run([ROOT / 'build/bench/bench-start', folder, str(rounds), *(folder / name for name in HISTORIES)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(done.stderr)
        short, long, grown = json.loads(done.stdout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # else an interruption would be lost
    print('       ' + '; '.join(f"{one['events']} events: a checkpoint of {one['checkpoint_bytes'] / 1e6:.1f} MB" for one in (short, long, grown)))
    few = f"{short['events']} events, checkpoint"
    return [Figure(f"start of the control plane, {long['events']} events, checkpoint", 'ms', long['with_ms'], 'without', long['without_ms']),
            Figure(f"start, {long['events']} events that leave as much, checkpoint", 'ms', long['with_ms'], few, short['with_ms']),
            Figure(f"start, {grown['events']} events with ten times the deployments, checkpoint", 'ms', grown['with_ms'], few, short['with_ms'])]


def batch(rounds):
    folder = tempfile.mkdtemp(prefix='bench-batch-', dir=HOMES)
    try:
        done = subprocess.run([ROOT / 'build/bench/bench-batch', folder, str(rounds)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(done.stderr)
        answer = json.loads(done.stdout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # else an interruption would be lost
    return [Figure('a command, 64 in flight', 'us', answer['batched_us'], 'one at a time', answer['single_us'])]


def append(pairs):
    folder = tempfile.mkdtemp(prefix='bench-append-', dir=HOMES)
    try:
        done = subprocess.run([ROOT / 'build/bench/bench-append', folder, str(pairs)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(done.stderr)
        answer = json.loads(done.stdout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # else an interruption would be lost
    ours, plain, many = ([events * 1e6 / us for us in answer[key]] for key, events in (('ours_us', 1), ('plain_us', 1), ('many_us', answer['in_flight'])))
    return [Figure('append of an event', '/s', ours, f"write + fdatasync of its {answer['bytes']} bytes", plain),
            Figure(f"append batched, {answer['in_flight']} in flight", '/s', many, 'one at a time', ours)]


def plan(rounds, sizes=(1000, 100_000, 1_000_000)):
    """A flood of placements through the files store, and plans after one change in models of several sizes."""
    folder = tempfile.mkdtemp(prefix='bench-plan-', dir=HOMES)
    try:
        floods = []
        for i in range(rounds):
            command = [ROOT / 'build/bench/bench-plan', f'{folder}/{i}', *([] if i > 0 else map(str, sizes))]
            pathlib.Path(folder, str(i)).mkdir()
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise Failed(done.stderr)
            floods.append(json.loads(done.stdout)['placements'])
            planning = json.loads(done.stdout)['planning'] if i == 0 else planning
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # else an interruption would be lost
    one, n = floods[0], floods[0]['placements']
    print(f"       {n} placements, {one['batches']} batches, {one['events']} events; each takes: its plan {one['plan_us'] / n:.1f} us, its encoding "
          f"{one['encode_us'] / n:.1f}, its append {one['append_us'] / n:.1f} (durable), its fold {one['fold_us'] / n:.1f}; of the processor {one['cpu_us'] / n:.1f}")
    for row in planning:
        print(f"       {row['instances']} instances: a plan after one report {row['nothing_us']:.1f} us, after one loss {row['replace_us']:.1f} us, "
              f"by looking at everything {row['rebuild_ms']:.1f} ms; {row['model_bytes_each']} + {row['planner_bytes_each']} bytes an instance")
    first, last = planning[0], planning[-1]
    return [Figure('placements, from the queue to the log', '/s', [f['placements_per_s'] for f in floods]),
            Figure(f"plan after one loss, {last['instances']} instances", 'us', [last['replace_us']], f"{first['instances']} instances", [first['replace_us']])]


def replay_of(what, rounds, logs, folder):
    """Through the files store, beside jansson's parse of the same lines; and how far each part of it comes."""
    stores = folder / 'stores'
    stores.mkdir()
    done = subprocess.run([ROOT / 'build/bench/bench-replay', str(rounds), stores, *logs], capture_output=True, text=True)
    shutil.rmtree(stores)
    if done.returncode != 0:
        raise Failed(done.stderr)
    answer = json.loads(done.stdout)
    rates = answer['events_per_s']
    mix = sorted(answer['mix_percent'].items(), key=lambda one: -one[1])
    print(f"       {what}: {answer['events']} events of {answer['mean_bytes']} bytes; " +
          ', '.join(f'{kind} {percent:.1f} %' for kind, percent in mix[:8]))
    each = {part: 1e9 / max(samples) for part, samples in rates.items()}
    print(f"       each takes: its line {each['lines']:.0f} ns, its sum {each['sums'] - each['lines']:.0f}, its record (and sum) "
          f"{each['records'] - each['lines']:.0f}, its payload {each['payloads'] - each['records']:.0f}, its fold "
          f"{each['fold'] - each['payloads']:.0f}; all of it {each['fold']:.0f}, through the store {each['store']:.0f}")
    return Figure(f'replay: {what}', 'events/s', rates['store'], 'jansson parses these lines', rates['jansson'])


def replay(rounds):
    folder = pathlib.Path(tempfile.mkdtemp(prefix='bench-replay-', dir=HOMES))
    try:
        stories = folder / 'stories'
        stories.mkdir()
        n = 600 if rounds > 1 else 60
        subprocess.run([ROOT / 'build/tests/sim/sim', '--seeds', str(n), '--record', stories], capture_output=True)  # 1: coverage is low
        if len(list(stories.iterdir())) != n:
            raise Failed(f'the simulator wrote no {n} logs')
        subprocess.run([ROOT / 'build/bench/bench-record', folder / 'big.jsonl', '250000'], check=True, capture_output=True)
        return [replay_of(f'{n} stories of the simulator', rounds, sorted(stories.iterdir()), folder),
                replay_of('one log of 41 nodes, 120 projects', rounds, [folder / 'big.jsonl'], folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # else an interruption would be lost


WHAT_IF_EVENTS = 1000000
# bench/record.c runs with this; the rest are defaults.
WHAT_IF_FIGURES = 'stop_timeout_seconds=30'


def what_if(events):
    """Every plan of one long history is made again, in this process and by another one: no difference, or the bench fails."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix='bench-what-if-', dir=HOMES))
    try:
        log, figures = folder / 'big.jsonl', []
        subprocess.run([ROOT / 'build/bench/bench-record', log, str(events)], check=True, capture_output=True)
        for what, more in (('this build', []), ('another process', ['--planner', ROOT / 'build/slipform'])):
            began = time.monotonic()
            done = subprocess.run([ROOT / 'build/slipform', 'what-if', log, '--recorded-with', WHAT_IF_FIGURES, *more, '--json'],
                                  capture_output=True, text=True)
            took = time.monotonic() - began
            if done.returncode != 0:
                raise Failed(done.stdout[:2000] + done.stderr)
            said = json.loads(done.stdout)
            print(f"       {what}: {said['events']} events, {said['plans']} plans with {said['decisions']} decisions, no difference")
            figures.append(Figure(f"what-if over {said['events']} events: {what}", 'events/s', [said['events'] / took]))
        return figures
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # else an interruption would be lost
