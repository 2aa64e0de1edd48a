"""slipform eventlog, as a person or a script calls it: python3 eventlog.py SLIPFORM SIM"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from postgres_server import Server, programs

SLIPFORM, SIM = sys.argv[1:3]
ID = '01900000-0000-7000-8000-0000000000'


def line(number, kind, payload, second, **more):
    return json.dumps({'time': f'2020-01-01T00:00:{second:02}Z#0', 'type': kind, **more, 'payload': payload})


REGION = ('slipform:CreateRegion', {'regionId': ID + '01', 'name': 'r'})
ZONE = ('slipform:CreateZone', {'zoneId': ID + '02', 'regionId': ID + '01', 'name': 'z'})
LOST = ('slipform:CreateZone', {'zoneId': ID + '03', 'regionId': ID + '99', 'name': 'y'})


class EventLog(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix='slipform-test-eventlog-')
        self.at = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def run_it(self, *words, code=0, text=False):
        done = subprocess.run([SLIPFORM, 'eventlog', *map(str, words), *([] if text else ['--json'])],
                              capture_output=True, text=True, timeout=60,
                              env={**os.environ, 'SLIPFORM_HOME': str(self.at / 'home')})
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        if text or not done.stdout:
            return done.stdout + done.stderr
        return json.loads(done.stdout)

    def write(self, name, *lines):
        (self.at / name).write_text(''.join(one + '\n' for one in lines))
        return self.at / name

    def story(self):
        subprocess.run([SIM, '--seed', '7', '--steps', '200', '--record', self.at], check=True, capture_output=True)
        return self.at / '7.jsonl'

    def test_there_and_back(self):
        story, log, again = self.story(), self.at / 'log', self.at / 'again'
        n = len(story.read_text().splitlines())
        done = self.run_it('import', story, '--to', log)
        self.assertEqual((done['ok'], done['imported'], done['unverified'], done['lifted']), (True, n, 0, 0))
        self.assertEqual(self.run_it('verify', log)['events'], n)
        self.assertEqual(self.run_it('export', log, self.at / 'out.jsonl')['events'], n)
        self.assertEqual((self.at / 'out.jsonl').read_bytes(), story.read_bytes())
        self.run_it('import', self.at / 'out.jsonl', '--to', again)
        self.assertEqual(self.run_it('export', again, '-', text=True), story.read_text())
        hashes = [self.run_it('hash', one) for one in (story, log, again)]
        self.assertEqual(hashes[0], hashes[1])
        self.assertEqual(hashes[0], hashes[2])
        self.assertEqual(hashes[0]['seq'], n)
        half = self.run_it('hash', log, '--at', n // 2)
        self.assertEqual(half['seq'], n // 2)
        self.assertNotEqual(half['model_hash'], hashes[0]['model_hash'])
        self.run_it('hash', log, '--at', n + 1, code=3)
        self.assertEqual(self.run_it('import', story, '--to', log)['copied'], 0)  # again: nothing is left to do

    def test_damage_is_named(self):
        log = self.at / 'log'
        self.run_it('import', self.write('a', line(1, *REGION, 1), line(2, *ZONE, 2)), '--to', log)
        file = next(one for one in sorted(log.iterdir()) if one.name.endswith('.jsonl') and one.stat().st_size > 0)
        text = file.read_bytes()
        at = text.index(b'"z"') + 1
        file.write_bytes(text[:at] + b'y' + text[at + 1:])
        bad = self.run_it('verify', log, code=1)
        self.assertEqual((bad['ok'], bad['events'], bad['first_bad']['seq'], bad['first_bad']['file']), (False, 1, 2, file.name))
        self.assertEqual(bad['first_bad']['offset'], text.index(b'\n') + 1)
        self.assertIn(file.name, self.run_it('verify', log, code=1, text=True))

    def test_replay(self):
        story, trace = self.story(), self.at / 'trace'
        n = len(story.read_text().splitlines())
        for every in (1, 7, 100000):
            done = self.run_it('replay', story, '--every', every)
            self.assertEqual((done['same'], done['events'], done['seq']), (True, n, 0))
        self.run_it('replay', story, '--every', 7, '--trace', trace)
        self.assertTrue(self.run_it('replay', story, '--every', 7, '--against', trace)['same'])
        lines = trace.read_text().splitlines()
        self.assertEqual(lines[-1].split()[0], str(n))
        lines[3] = lines[3][:-1] + ('0' if lines[3][-1] != '0' else '1')
        trace.write_text('\n'.join(lines) + '\n')
        done = self.run_it('replay', story, '--every', 7, '--against', trace, code=1)
        self.assertEqual((done['same'], done['seq'], done['events']), (False, 28, 21))
        self.run_it('replay', story, '--every', 7, '--against', self.at / 'none', code=3)

    def test_cat(self):
        story = self.story()
        all_of_it = self.run_it('cat', story)
        self.assertEqual([one['seq'] for one in all_of_it], list(range(1, len(all_of_it) + 1)))
        some = self.run_it('cat', story, '--from', 5, '--to', 9)
        self.assertEqual(some, all_of_it[4:9])
        joins = self.run_it('cat', story, '--type', 'JoinNode')
        self.assertEqual(joins, [one for one in all_of_it if one['type'] == 'JoinNode'])
        self.assertTrue(joins)
        self.assertEqual(self.run_it('cat', story, '--type', 'Nothing'), [])
        self.assertIn('JoinNode', self.run_it('cat', story, text=True))
        self.run_it('cat', story, '--to', 'x', code=2)

    def test_follow(self):
        log = self.at / 'log'
        self.run_it('import', self.write('a', line(1, *REGION, 1)), '--to', log)
        reader = subprocess.Popen([SLIPFORM, 'eventlog', 'cat', log, '--follow', '--json'], stdout=subprocess.PIPE,
                                  text=True, env={**os.environ, 'SLIPFORM_HOME': str(self.at / 'home')})
        try:
            self.assertEqual(json.loads(reader.stdout.readline())['seq'], 1)
            more = self.write('b', line(1, *REGION, 1), line(2, *ZONE, 2))
            self.run_it('import', more, '--to', log)  # goes on behind what is there
            self.assertEqual(json.loads(reader.stdout.readline())['type'], 'CreateZone')
        finally:
            reader.terminate()
            reader.wait()
            reader.stdout.close()

    def test_lines_of_others(self):
        pojo = 'pojo:io.ulzha.spive.app.events.'
        foreign = self.write(
            'foreign.jsonl',
            line(1, pojo + 'CreateStream', {'streamId': ID + '10', 'name': 's', 'version': '1'}, 1),
            line(2, pojo + 'CreateEventLog', {'streamId': ID + '10', 'logId': ID + '11', 'partitionRange': '*',
                                              'start': '-inf#-1'}, 2),
            line(3, pojo + 'CreateProcess', {'processId': ID + '12', 'name': 'p', 'version': '1', 'artifactUrl': 'x',
                                             'availabilityZones': [], 'inputStreamIds': [ID + '10']}, 3),
            line(4, pojo + 'CreateInstance', {'instanceId': ID + '13', 'processId': ID + '12', 'logIds': [ID + '11'],
                                              'partitionRange': '*', 'runnerUrl': 'http://runner', 'workloads': ['*']}, 4),
            line(5, pojo + 'InstanceStatusChange', {'instanceId': ID + '13', 'status': 'NOMINAL', 'cause': '',
                                                    'eventTime': '2020-01-01T00:00:05Z#0', 'instant': 'x'}, 5))
        log = self.at / 'log'
        done = self.run_it('import', foreign, '--to', log)
        self.assertEqual((done['imported'], done['unverified'], done['lifted']), (5, 5, 2))
        records = self.run_it('cat', log)
        self.assertEqual(records[3]['payload']['partitionRanges'], ['*'])
        self.assertNotIn('partitionRange', records[3]['payload'])
        self.assertEqual((records[4]['payload']['status'], records[4]['payload']['health']), ('running', 'NOMINAL'))
        self.assertEqual(len({one['id'] for one in records}), 5)
        self.assertEqual(self.run_it('hash', foreign), self.run_it('hash', log))  # an id is no part of the model
        self.run_it('import', foreign, '--to', self.at / 'second')
        self.assertEqual([one['id'] for one in self.run_it('cat', self.at / 'second')], [one['id'] for one in records])

    def test_bad_lines(self):
        good = self.write('good.jsonl', line(1, *REGION, 1), line(2, *ZONE, 2))
        self.run_it('import', good, '--to', self.at / 'good')
        self.run_it('export', self.at / 'good', self.at / 'sealed.jsonl')
        sealed = (self.at / 'sealed.jsonl').read_text().splitlines()
        bad = self.write('bad.jsonl', line(1, *REGION, 1), 'no json', line(3, *LOST, 3), line(4, *ZONE, 1),
                         line(5, 'slipform:NoSuchKind', {}, 5), '', line(7, 'CreateRegion', {'name': 1}, 7),
                         line(8, *ZONE, 8), 'x' * 300000)
        log = self.at / 'log'
        done = self.run_it('import', bad, '--to', log, code=1)
        self.assertEqual([one['line'] for one in done['bad']], [2, 3, 4, 5, 6, 7, 9])
        for words, one in zip(('JSON object', 'does not exist', 'not later', 'unknown kind', 'JSON object', 'regionId',
                               'over'), done['bad']):
            self.assertIn(words, one['cause'])
        self.assertFalse(log.exists())
        self.assertIn('nothing was imported', self.run_it('import', bad, '--to', log, code=1, text=True))
        done = self.run_it('import', bad, '--to', log, '--skip-bad')
        self.assertEqual((done['imported'], done['bad_n']), (2, 7))
        self.assertEqual([one['type'] for one in self.run_it('cat', log)], ['CreateRegion', 'CreateZone'])
        broken = self.write('broken.jsonl', sealed[0].replace('"r"', '"q"'), sealed[1])
        done = self.run_it('import', broken, '--to', self.at / 'none', code=1)
        self.assertEqual([one['line'] for one in done['bad']], [1, 2])  # the zone's region went with line 1
        self.assertIn('checksum', done['bad'][0]['cause'])
        self.assertIn('does not exist', done['bad'][1]['cause'])
        other = self.write('other.jsonl', line(1, 'CreateRegion', {'regionId': ID + '77', 'name': 'o'}, 1))
        self.run_it('import', other, '--to', log, code=1)
        self.run_it('import', self.write('app.jsonl', line(1, 'clicks:Clicked', {'n': 1}, 1)), '--to', self.at / 'app',
                    '--any-kind')

    def test_copy(self):
        story, first, second = self.story(), self.at / 'first', self.at / 'second'
        n = len(story.read_text().splitlines())
        half = self.write('half.jsonl', *story.read_text().splitlines()[:n // 2])
        self.run_it('import', half, '--to', first)
        self.assertEqual(self.run_it('copy', first, f'files;path={second}'),
                         {'copied': n // 2, 'from_seq': n // 2, 'to_seq': n // 2})
        self.run_it('import', story, '--to', first)
        self.assertEqual(self.run_it('copy', first, second)['copied'], n - n // 2)
        self.assertEqual(self.run_it('copy', first, second)['copied'], 0)
        self.assertEqual(self.run_it('hash', first), self.run_it('hash', second))
        self.assertEqual((first / f'{1:020}.jsonl').read_bytes(), (second / f'{1:020}.jsonl').read_bytes())
        self.assertEqual(self.run_it('copy', first, self.at / 'rest', '--after', n - 3)['copied'], 3)
        self.run_it('import', self.write('o', line(1, *REGION, 1)), '--to', self.at / 'other')
        self.run_it('copy', first, self.at / 'other', code=1)

    @unittest.skipIf(programs() is None, 'SKIPPED: no PostgreSQL in /usr/lib/postgresql: install postgresql-15')
    def test_postgres(self):
        story, log, back = self.story(), self.at / 'log', self.at / 'back'
        n = len(story.read_text().splitlines())
        self.run_it('import', story, '--to', log)
        with Server() as server:
            self.assertEqual(self.run_it('create', server.owner_spec('other'))['events'], 0)
            spec = server.spec('platform')
            self.assertEqual(self.run_it('copy', log, spec, '--keep-id')['copied'], n)
            self.assertEqual(self.run_it('copy', log, spec)['copied'], 0)
            self.assertEqual(self.run_it('verify', spec), {'ok': True, 'events': n, 'unverified': 0, 'first_bad': None})
            self.assertEqual(self.run_it('hash', spec), self.run_it('hash', log))
            shown = self.run_it('cat', spec, '--from', n, text=True)
            self.assertEqual(self.run_it('cat', spec, '--from', n)[0]['log'], 'platform@slipform')
            self.assertEqual(shown, self.run_it('cat', log, '--from', n, text=True))
            self.assertEqual(self.run_it('copy', spec, back)['copied'], n)
            for file in log.glob('*.jsonl'):
                self.assertEqual((back / file.name).read_bytes(), file.read_bytes())
            self.assertIn('installation', self.run_it('copy', log, spec.replace('=test', '=other'), code=1, text=True))
            server.sql("UPDATE slipform.events SET line = replace(line, '-0000-', '-0001-') WHERE seq = 2 AND log = 2")
            self.assertEqual(self.run_it('verify', spec, code=1)['first_bad']['seq'], 2)

    def test_set_aside(self):
        log = self.at / 'log'
        lines = [line(1, *REGION, 1), line(2, *LOST, 2), line(3, *ZONE, 3)]
        self.run_it('import', self.write('poison', *lines), '--to', log, '--any-kind')
        self.run_it('hash', log, code=1)
        self.assertIn('event 2', self.run_it('hash', log, code=1, text=True))
        self.run_it('set-aside', log, 2, code=2)
        for reason in (' ', 'x' * 4097):
            self.run_it('set-aside', log, 2, '--reason', reason, code=2)
        self.run_it('set-aside', log, 9, '--reason', 'x', code=3)
        self.run_it('set-aside', log, 1, '--reason', 'x', code=1)
        self.assertIn('earlier record', self.run_it('set-aside', log, 3, '--reason', 'x', code=1, text=True))
        self.assertEqual(self.run_it('set-aside', log, 2, '--reason', 'its region never was'), {'set_aside': 2, 'seq': 4})
        self.assertEqual(self.run_it('hash', log)['seq'], 4)
        self.run_it('set-aside', log, 2, '--reason', 'again', code=1)
        last = self.run_it('cat', log, '--from', 4)[0]
        self.assertEqual((last['type'], last['payload']['seq'], last['payload']['reason']),
                         ('SetAside', 2, 'its region never was'))
        self.assertTrue(last['payload']['requestedBy'])

    def test_usage(self):
        self.run_it('nothing', 'x', code=2)
        self.run_it('copy', 'x', code=2)
        self.run_it('hash', self.at / 'none', code=3)
        text = subprocess.run([SLIPFORM, 'eventlog', '--help'], capture_output=True, text=True, check=True).stdout
        for word in ('verify', 'cat', 'copy', 'import', 'export', 'hash', 'create', 'set-aside', '--skip-bad'):
            self.assertIn(word, text)


unittest.main(argv=sys.argv[:1], verbosity=2)
