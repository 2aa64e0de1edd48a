"""slipform what-if, as a person or a script calls it: python3 what_if.py SLIPFORM SIM SLIPFORM-MUTANT…

The histories are stories of the simulator, and each SLIPFORM-MUTANT is a build whose planner has one mistake of tests/sim/mutants."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SLIPFORM, SIM, *OTHERS = [str(pathlib.Path(one).resolve()) for one in sys.argv[1:]]
SEEDS = 24
# What the simulator's installation runs with: settle() of tests/sim/run.c.
SIM_FIGURES = ('start_timeout_seconds=45,builder_linger_seconds=5,stop_timeout_seconds=25,build_timeout_seconds=60,'
               'status_repeat_seconds=60,replace_delay_seconds_max=60,spread_after_seconds=20')
# mutant: (how it differs, the rule that is broken)
MISTAKES = {
    'no-settling': ('earlier', 'all are healthy'),
    'drain-without-edges': ('earlier', 'every live edge has switched'),
    'drain-time-forgotten': ('also', 'drained'),
    'half-is-a-majority': ('earlier', 'votes'),
    'lost-not-replaced': ('not', 'replace'),
}


class WhatIf(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix='slipform-test-what-if-')
        cls.at = pathlib.Path(cls.folder.name)
        subprocess.run([SIM, '--seeds', str(SEEDS), '--record', cls.at], capture_output=True, check=False)  # 1: few seeds cover little
        cls.stories = sorted(cls.at.glob('*.jsonl'))
        assert len(cls.stories) == SEEDS

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_it(self, *words, code=0, text=False, figures=True):
        more = ['--recorded-with', SIM_FIGURES] if figures else []
        done = subprocess.run([SLIPFORM, 'what-if', *map(str, words), *more, *([] if text else ['--json'])], capture_output=True,
                              text=True, timeout=120, env={**os.environ, 'SLIPFORM_HOME': str(self.at / 'home')})
        if code is not None:
            self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return done.stdout + done.stderr if text or not done.stdout else json.loads(done.stdout)

    def log(self, story):
        return [json.loads(line) for line in story.read_text().splitlines()]

    def test_the_same_planner_decides_the_same(self):
        for story in self.stories:
            said = self.run_it(story)
            self.assertEqual((said['same'], said['differences'], said['unexplained']), (True, [], 0), story)
            log = self.log(story)
            planned = [one for one in log if 'nowMs' in one['payload'].get('because', {})]
            self.assertEqual((said['events'], said['decisions']), (len(log), len(planned)))
            self.assertEqual(said['plans'], sum(not one.get('more', False) for one in planned))
            self.assertGreater(said['plans'], 20)

    def test_the_same_build_in_another_process(self):
        for story in self.stories[:4]:
            said = self.run_it(story, '--planner', SLIPFORM)
            self.assertEqual((said['same'], said['differences']), (True, []), story)

    def test_a_store_is_read_as_well_as_a_file(self):
        subprocess.run([SLIPFORM, 'eventlog', 'import', self.stories[0], '--to', self.at / 'log'], check=True, capture_output=True)
        for log in (self.at / 'log', f'files;path={self.at}/log'):
            self.assertEqual(self.run_it(log), self.run_it(self.stories[0]))
            self.assertEqual(self.run_it(log, '--planner', SLIPFORM)['same'], True)

    def assert_place(self, log, row):
        """It stands where it says."""
        if row['seq'] is None:
            self.assertIsNone(row['recorded'])
            return
        event = log[row['seq'] - 1]
        self.assertEqual((event['type'].split(':')[-1], event['payload']), (row['kind'], row['recorded_payload']))
        self.assertEqual(event['payload']['because']['rule'], row['rule'])
        self.assertLess(row['position'], row['seq'])
        batch = log[row['position']:row['seq'] - 1]
        self.assertTrue(all(one.get('more') for one in batch), 'the position is the beginning of the plan')

    def test_every_mistake_of_a_planner_is_found(self):
        self.assertEqual(len(OTHERS), len(MISTAKES))
        for other in OTHERS:
            change, rule = MISTAKES[pathlib.Path(other).name.removeprefix('slipform-')]
            found = 0
            for story in self.stories:
                if found > 0:
                    break
                said = self.run_it(story, '--planner', other, '--limit', 10000, code=None)
                log = self.log(story)
                for row in said['differences']:
                    self.assert_place(log, row)
                found += any((row['change'], row['rule']) == (change, rule) for row in said['differences'])
            self.assertGreater(found, 0, other)

    def test_a_switch_that_would_have_come_sooner(self):
        """Without settling, a route switches when the last instance is healthy: before the recorded switch, at its own time."""
        found = 0
        other = next(one for one in OTHERS if one.endswith('no-settling'))
        for story in self.stories:
            log = self.log(story)
            for row in self.run_it(story, '--planner', other, '--limit', 10000, code=1)['differences']:
                if (row['change'], row['kind']) != ('earlier', 'RouteDeployment'):
                    continue
                later = [one for one in log[row['position']:] if one['type'].endswith(':RouteDeployment') and
                         one['payload']['deploymentId'] == row['instead_payload']['deploymentId']]
                if later:
                    found += 1
                    self.assertLess(row['time'], later[0]['time'])
        self.assertGreater(found, 5)

    def test_other_figures(self):
        found = {}
        for story in self.stories:
            said = self.run_it(story, '--set', 'settle_seconds=5', code=1)
            found |= {(row['change'], row['rule']): row for row in said['counts']}
            self.assertEqual(said['figures']['settle_seconds'], 5)
            told = self.run_it(story, '--set', 'settle_seconds=5', '--planner', SLIPFORM, code=1)
            self.assertEqual(said, told)  # the other process is told the figures
        self.assertIn(('not', 'all are healthy'), found)
        self.assertNotIn(('earlier', 'all are healthy'), found)
        sooner = [row for story in self.stories for row in self.run_it(story, '--set', 'start_timeout_seconds=5', code=None)['counts']]
        self.assertEqual({row['rule'] for row in sooner if row['change'] in ('earlier', 'also')}, {'start timeout'})
        self.assertIn('earlier', {row['change'] for row in sooner})
        self.run_it(self.stories[0], '--set', 'no_such_figure=5', code=2, text=True)
        self.run_it(self.stories[0], '--set', 'settle_seconds=soon', code=2, text=True)

    def test_a_history_that_was_tampered_with(self):
        """One decision of the log is made another one; every other one is as it was."""
        story = self.stories[0]
        lines = [json.loads(line) for line in story.read_text().splitlines()]
        at = next(i for i, one in enumerate(lines) if one['type'].endswith(':CreateInstance') and
                  one['payload']['because'].get('rule') == 'start')
        lines[at]['payload']['owner'] = 'somebody'
        for one in lines:
            del one['sum']
        (self.at / 'tampered').mkdir()
        log = self.at / 'tampered/story.jsonl'
        log.write_text(''.join(json.dumps(one, separators=(',', ':')) + '\n' for one in lines))
        said = self.run_it(log, '--recorded-with', SIM_FIGURES + ',installation=sim', code=1, figures=False)
        self.assertEqual([(row['change'], row['seq'], row['kind']) for row in said['differences']], [('other', at + 1, 'CreateInstance')])
        self.assertEqual(said['differences'][0]['instead_payload']['owner'], 'sim')

    def test_words(self):
        said = self.run_it(self.stories[0], text=True)
        self.assertIn('no difference', said)
        said = self.run_it(self.stories[0], '--set', 'settle_seconds=5', '--limit', 1, code=1, text=True)
        self.assertIn("by rule 'all are healthy':", said)
        self.assertIn('recorded  RouteDeployment', said)
        self.assertIn('more (--limit)', said)

    def test_what_cannot_be_asked(self):
        story = self.stories[0]
        self.run_it(code=3, text=True)  # there is no installation
        self.run_it(self.at / 'none', code=3, text=True)
        self.run_it(story, '--planner', '/no/such/program', code=3, text=True)
        self.assertIn('true', self.run_it(story, '--planner', '/bin/true', code=1, text=True))
        liar = self.at / 'liar'
        liar.write_text('#!/bin/sh\nread hello; echo \'{"what_if":2,"build":"9"}\'\n')
        liar.chmod(0o755)
        self.assertIn('format', self.run_it(story, '--planner', liar, code=1, text=True))
        liar.write_text('#!/bin/sh\nread hello; echo \'{"what_if":1,"build":"9"}\'; read q; echo \'{"seq":999999,"n":0}\'; cat >/dev/null\n')
        self.assertIn('something else than it was asked', self.run_it(story, '--planner', liar, code=1, text=True))

    def ask(self, *lines):
        done = subprocess.run([SLIPFORM, 'what-if', self.stories[0], '--answer'], input=''.join(json.dumps(one) + '\n' for one in lines),
                              capture_output=True, text=True, timeout=60)
        return [json.loads(one) for one in done.stdout.splitlines()]

    def test_answers(self):
        hello = {'what_if': 1, 'settings': {'app_domain': 'localhost', 'installation': 'sim'}}
        log = self.log(self.stories[0])
        at = next(i for i, one in enumerate(log) if one['payload'].get('because', {}).get('rule') == 'its image is ready')
        now = log[at]['payload']['because']['nowMs']
        question = {'seq': at, 'now_ms': now, 'until_ms': now, 'replicas_n': 1000000, 'format': 1}
        said, answer, *events = self.ask(hello, question)
        self.assertEqual(said['what_if'], 1)
        self.assertEqual((answer['seq'], answer['at_ms'], answer['n']), (at, now, len(events)))
        self.assertEqual((events[0]['type'], events[0]['payload']['processId']), ('CreateProcess', log[at]['payload']['processId']))
        self.assertIn('forward', self.ask(hello, question, {**question, 'seq': at - 1})[-1]['error'])
        self.assertIn('ends', self.ask(hello, {**question, 'seq': len(log) + 1})[-1]['error'])
        self.assertIn('format', self.ask({'what_if': 2})[0]['error'])
        self.assertIn('figure', self.ask({'what_if': 1, 'settings': {'no_such_figure': 1}})[0]['error'])
        self.assertIn('error', self.ask(hello, {'seq': 1})[-1])


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=2)
