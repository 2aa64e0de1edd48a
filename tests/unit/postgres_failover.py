"""A log in PostgreSQL whose server goes down, comes back, or hands over to its standby while three replicas append:
python3 postgres_failover.py SLIPFORM APPEND_LOAD

Real servers; a replica is a program of its own (append_load.c). What a fail-over takes is printed: the store's own part
until it takes writes again, and ours until the next append is acknowledged.
"""
import json
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest

from postgres_server import Server, Standby, programs

SLIPFORM, LOAD = sys.argv[1:3]
# Of our doing, from the instant at which the server takes writes again to the next append that is acknowledged.
OURS_MS_MAX = 100 if b'__asan_init' not in pathlib.Path(LOAD).read_bytes() else 1000


def now_us():
    return time.monotonic_ns() // 1000


def until(what, why, seconds=60):
    limit = time.monotonic() + seconds
    while not what():
        if time.monotonic() > limit:
            raise AssertionError(f'not in {seconds} s: {why() if callable(why) else why}')
        time.sleep(0.002)


class Replica:
    def __init__(self, spec, who):
        self.who, self.saw, self.acks, self.said, self.stopped = who, {}, [], [], None
        self.process = subprocess.Popen([LOAD, spec, who], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            word, rest = line.rstrip('\n').split(' ', 1)
            if word == 'saw':
                seq, event = rest.split()
                if self.saw.setdefault(int(seq), event) != event:
                    self.said.append(f'twice {seq}')
            elif word == 'ack':
                self.acks.append(tuple(map(int, rest.split())))
            elif word == 'stopped':
                self.stopped = rest
            else:
                self.said.append(line.rstrip('\n'))

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.reader.join(timeout=60)
        self.process.stdout.close()

    def after(self, us):
        """When the first append after that instant was acknowledged, or None."""
        return next((at for _, _, at in self.acks if at > us), None)


class FailOver(unittest.TestCase):
    def setUp(self):
        self.primary = self.enterContext(Server())
        self.replicas, self.started = [], 0
        self.addCleanup(self.end)
        made = subprocess.run([SLIPFORM, 'eventlog', 'create', self.primary.owner_spec('one')], capture_output=True, text=True, timeout=60)
        self.assertEqual(made.returncode, 0, made.stderr)

    def enterContext(self, context):  # unittest has one of its own from Python 3.11 on
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def standby(self, synchronous=True):
        self.second = self.enterContext(Standby(self.primary, 'second'))
        if synchronous:
            self.primary.settings(synchronous_standby_names='second')
            until(lambda: self.primary.sql("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'second'") == 'sync', 'the standby is synchronous')

    def spec(self, *servers, more=''):
        return servers[0].spec('one', more=more).replace(servers[0].folder, ','.join(s.folder for s in servers))

    def load(self, spec, n=3):
        self.replicas += [Replica(spec, f'r{self.started + i}') for i in range(n)]
        self.started += n
        self.progress(30)

    def progress(self, n):
        """Each of those that go on has n more acknowledged."""
        wanted = {r: len(r.acks) + n for r in self.replicas}
        until(lambda: all(len(r.acks) >= wanted[r] for r in self.replicas), lambda: [(len(r.acks), r.said[-3:], r.stopped) for r in self.replicas])

    def end(self):
        for r in self.replicas:
            if not r.process.stdin.closed:
                r.end()

    def gap(self, what, server, from_us, gone_us):
        """Who is first counts: that one could serve everybody."""
        until(lambda: all(r.after(gone_us) for r in self.replicas), lambda: [(r.said[-3:], r.stopped) for r in self.replicas])
        first, last = (max(0, f(r.after(gone_us) for r in self.replicas) - server.ready_us) / 1000 for f in (min, max))
        print(f'{what}: the store\'s own {(server.ready_us - from_us) / 1000:.0f} ms, then ours {first:.1f} ms to the next acknowledged append, '
              f'{last:.1f} ms until each replica has one', file=sys.stderr)
        return first

    def takes_writes(self, server):
        try:
            return server.sql('SELECT pg_is_in_recovery()') == 'f'
        except RuntimeError:
            return False

    def check_all_is_there(self, server):
        """Nothing acknowledged is lost, nothing is there twice, no position is missing, and all saw the same."""
        self.end()
        rows = json.loads(server.sql("SELECT coalesce(json_agg(json_build_array(seq, id, line) ORDER BY seq), '[]') FROM slipform.events"))
        self.assertEqual([seq for seq, _, _ in rows], list(range(1, len(rows) + 1)))
        ids = {seq: event for seq, event, _ in rows}
        self.assertEqual(len(set(ids.values())), len(rows))
        loaded = [json.loads(line)['payload'] for _, _, line in rows]
        once = [(p['who'], p['n']) for p in loaded]
        self.assertEqual(len(set(once)), len(once), 'an event that was said not to be there came to be there')
        for r in self.replicas:
            self.assertEqual({seq: event for seq, event in r.saw.items() if ids.get(seq) != event}, {}, r.who)
            self.assertEqual([s for s in r.said if s.startswith('twice')], [])
            for seq, n, _ in r.acks:
                self.assertEqual((loaded[seq - 1]['who'], loaded[seq - 1]['n']), (r.who, n))
        verified = subprocess.run([SLIPFORM, 'eventlog', 'verify', server.spec('one')], capture_output=True, text=True, timeout=60)
        self.assertIn('all good', verified.stdout, verified.stderr)
        return len(rows)

    def test_the_standby_takes_over(self):
        self.standby()
        self.load(self.spec(self.primary, self.second))
        killed_us = now_us()
        self.primary.kill()
        gone_us = now_us()
        self.second.promote()
        ours = self.gap('fail-over to a standby', self.second, killed_us, gone_us)
        self.progress(100)
        self.check_all_is_there(self.second)
        self.assertLess(ours, OURS_MS_MAX)

    def test_the_server_goes_down_and_comes_back(self):
        self.load(self.spec(self.primary))
        ours = []
        for how, what in ((signal.SIGQUIT, 'immediate stop'), (signal.SIGINT, 'restart'), (None, 'kill')):
            from_us = now_us()
            self.primary.kill() if how is None else self.primary.stop(how)
            gone_us = now_us()
            self.primary.start()
            ours.append(self.gap(what, self.primary, from_us, gone_us))
            self.progress(50)
        self.check_all_is_there(self.primary)
        self.assertLess(sorted(ours)[1], OURS_MS_MAX)  # the median: others run on this machine

    def test_a_tail_that_was_lost_is_noticed(self):
        """The standby is asynchronous and behind: what it lacks was read, so nobody goes on."""
        self.standby(synchronous=False)
        self.load(self.spec(self.primary, self.second))
        self.second.settings(primary_conninfo='')
        until(lambda: self.second.sql('SELECT count(*) FROM pg_stat_wal_receiver') == '0', 'the standby receives nothing any more')
        self.progress(50)
        self.primary.kill()
        self.second.promote()
        had = self.second.sql("SELECT seq FROM slipform.heads WHERE name = 'one'")
        until(lambda: all(r.stopped for r in self.replicas), lambda: [(len(r.acks), r.said[-1:], r.stopped) for r in self.replicas])
        for r in self.replicas:
            self.assertRegex(r.stopped, 'ends at .* before|is another event than it was', r.who)
            self.assertGreater(max(r.saw), int(had))
        self.assertEqual(self.second.sql("SELECT seq FROM slipform.heads WHERE name = 'one'"), had)

    def test_what_no_standby_has_is_not_acknowledged(self):
        """The standby is gone: the primary's wait for it is cut short, its log has the event, and nobody may be told so."""
        self.standby()
        self.load(self.spec(self.primary, self.second, more=';lock_wait_ms=200;timeout_ms=300'), n=1)
        one = self.replicas[0]
        self.second.stop(signal.SIGQUIT)
        until(lambda: int(self.primary.sql("SELECT seq FROM slipform.heads WHERE name = 'one'")) > one.acks[-1][0], 'an event that was not acknowledged is visible')
        acks = len(one.acks)
        time.sleep(1)  # nothing is to happen
        self.assertEqual(len(one.acks), acks)
        self.primary.kill()
        self.second.start()
        self.second.promote()
        self.progress(20)
        self.check_all_is_there(self.second)

    def test_an_older_primary_is_not_gone_back_to(self):
        """It comes back behind a promotion and takes writes; who knows the newer one writes there, who starts anew too."""
        self.standby(synchronous=False)
        self.load(self.spec(self.primary, self.second))
        self.end()
        self.replicas.clear()
        self.primary.kill()
        self.second.promote()
        self.load(self.spec(self.primary, self.second))
        self.primary.start()
        self.assertTrue(self.takes_writes(self.primary))
        had = self.primary.sql("SELECT seq FROM slipform.heads WHERE name = 'one'")
        self.load(self.spec(self.primary, self.second), n=1)  # asks both
        self.second.stop(signal.SIGINT)  # now there is the old one only
        until(lambda: all(any('another server took over' in s for s in r.said) for r in self.replicas), lambda: [(len(r.acks), r.said[-1:], r.stopped) for r in self.replicas])
        self.second.start()
        self.progress(20)
        self.check_all_is_there(self.second)
        self.assertEqual(self.primary.sql("SELECT seq FROM slipform.heads WHERE name = 'one'"), had)

    def test_a_server_that_is_fenced_is_left(self):
        self.load(self.spec(self.primary))
        self.primary.settings(default_transaction_read_only='on')
        until(lambda: all(any('read-only' in s for s in r.said) for r in self.replicas), lambda: [(len(r.acks), r.said[-1:], r.stopped) for r in self.replicas])
        connected = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'replica' AND state = 'idle'"
        until(lambda: self.primary.sql(connected) == '0', 'nobody stays connected to it')
        self.primary.run('psql', '-h', self.primary.folder, '-U', 'postgres', '-X', '-c', 'SET default_transaction_read_only = off',
                         '-c', 'ALTER SYSTEM RESET default_transaction_read_only', '-c', 'SELECT pg_reload_conf()', 'postgres')
        self.progress(20)
        self.check_all_is_there(self.primary)


if __name__ == '__main__':
    if programs() is None:
        print('SKIPPED: no PostgreSQL in /usr/lib/postgresql: install postgresql-15', file=sys.stderr)
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
