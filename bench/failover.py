"""The gap in what a surviving replica accepts when two of three are killed, beside what the store itself takes to come back."""
import statistics
import subprocess
import sys
import threading
import time

from figures import Figure, ROOT
from house import Failed

sys.path.insert(0, str(ROOT / 'tests/system'))

AFTER_S = 2  # a gap begins within this after the kill, or there was none
BOUND_S = 60
PACE_S = 0.01  # between the commands of one writer: appends meet, and nobody is held up by that alone


class Writer(threading.Thread):
    """One command after the other to one replica, from three: so that a kill comes in the middle of appends."""

    def __init__(self, world, program):
        super().__init__(daemon=True)
        self.client, self.name = world.client_of(program), program.name
        self.accepted, self.is_over, self.refused = [], False, 0

    def run(self):
        number = 0
        while not self.is_over:
            number += 1
            try:
                status = self.client.ask('POST', '/v1/projects', {'name': f'{self.name}-{time.monotonic_ns()}-{number}'}).status
            except OSError:
                status = 0
            if status == 201:
                self.accepted.append(time.monotonic())
            else:
                self.refused += 1
            time.sleep(PACE_S)

    def gap_ms(self, since, seconds):
        """The longest time between two accepted commands of which the later one came after `since`, up to so many seconds after."""
        end = time.monotonic() + BOUND_S
        while not self.accepted or self.accepted[-1] < since + seconds:
            if time.monotonic() > end:
                raise Failed(f'{self.name} accepts nothing any more')
            time.sleep(0.05)
        times = self.accepted[:]
        return max((b - a for a, b in zip(times, times[1:]) if b > since and a < since + seconds), default=0) * 1000


def write_while(world, programs, act, seconds=AFTER_S):
    """Longest gap at the last of the programs, ms: in as many seconds before and after act()."""
    writers = [Writer(world, program) for program in programs]
    try:
        for writer in writers:
            writer.start()
        before = writers[-1].gap_ms(time.monotonic() + 0.5, seconds)
        since = time.monotonic()
        act()
        after = writers[-1].gap_ms(since, seconds)
        return before, after
    finally:
        for writer in writers:
            writer.is_over = True
        for writer in writers:
            writer.join(60)


def measure(rounds):
    from postgres_server import Server
    from platform_world import Program
    from test_replicas import ALL, SLIPFORM
    from test_replicas_postgres import OnPostgres
    quiet, killed, restarted = [], [], []
    with Server() as server:
        subprocess.run([SLIPFORM, 'eventlog', 'create', server.owner_spec('platform')], check=True, timeout=60)
        world = OnPostgres(server)
        third = Program(world, 'third', ALL, world.first.settings['tuning'])
        third.settings['event_store'] = world.first.settings['event_store']
        world.all.append(third)
        for program in world.all:
            program.settings['node_timeout_seconds'] = 60
        try:
            world.start()
            world.populate()
            for i in range(rounds):
                dying, survivor = [p for p in world.all if p is not world.all[i % 3]], world.all[i % 3]
                before, after = write_while(world, [*dying, survivor], lambda: [p.kill() for p in dying])
                quiet.append(before)
                killed.append(after)
                for program in dying:
                    program.start()
            for i in range(max(1, rounds // 2)):
                restarted.append(write_while(world, [world.all[i % 3]], server.restart)[1])
        finally:
            world.discard()
    print(f'       the longest time without an accepted command in {AFTER_S} s: median {statistics.median(quiet):.0f} ms with three replicas, '
          f'{statistics.median(killed):.0f} ms when two are killed, {statistics.median(restarted):.0f} ms when PostgreSQL is restarted')
    return [Figure('longest gap at the survivor, two of three replicas killed', 'ms', killed, 'with all three', quiet),
            Figure('longest gap at a replica, PostgreSQL restarted', 'ms', restarted)]
