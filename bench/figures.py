"""Samples, rows of build/bench.json, and how they are shown."""
import math
import pathlib
import re
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
BARS = ' ▁▂▃▄▅▆▇█'
# What is wanted: a row's whole name, which of its members, at least or at most, how much. Reasons are in docs/bench.md.
GOALS = (
    (r'append of an event', 'ratio', '>=', 0.9),
    (r'append batched, 64 in flight', 'ratio', '>=', 10),
    (r'a command, 64 in flight', 'ratio', '<=', 0.1),
    (r'append to PostgreSQL, .*', 'ratio', '>=', 0.8),
    (r'append batched to PostgreSQL, .*', 'ratio', '>=', 1),
    (r'acknowledged until every listener has it, NATS', 'p99', '<=', 100),
    (r'longest gap at the survivor, .*', 'value', '<=', 100),
    (r'replay: .*', 'value', '>=', 1e6),
    (r'placements, .*', 'value', '>=', 10000),
    (r'start, \d+ events that leave as much, checkpoint', 'ratio', '<=', 1.2),
    (r'image present to healthy', 'ratio', '<=', 1.25),
)


def percentile(samples, percent):
    """Nearest rank: a value that was measured. With fewer than 100 samples p99 is the largest."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


def commit():
    def git(*words):
        return subprocess.run(['git', '-C', ROOT, *words], capture_output=True, text=True).stdout.strip()
    return (git('rev-parse', '--short=12', 'HEAD') or 'unknown') + ('-dirty' if git('status', '--porcelain') else '')


def judged(row):
    """What is wanted of a row, and whether it is so: ('ratio >= 0.9', True); ('', None) where nothing is."""
    for name, member, relation, bound in GOALS:
        if re.fullmatch(name, row['name']):
            value = row[member]
            return f'{member} {relation} {bound:g}', value is not None and (value >= bound if relation == '>=' else value <= bound)
    return '', None


def unmeasured(rows):
    """Goals that no row is held against."""
    return [name for name, *_ in GOALS if not any(re.fullmatch(name, row['name']) for row in rows)]


def verdict(rows):
    """For the last lines of a report: which goals are met, and which are not."""
    wanted = [row for row in rows if row['is_met'] is not None]
    missed = [f'  {row["name"]}: {row["goal"]}, measured {row[row["goal"].split()[0]]}' for row in wanted if not row['is_met']]
    return '\n'.join([f'{len(wanted) - len(missed)} of {len(wanted)} goals are met' + (', these are not:' if missed else '')] + missed)


class Figure:
    """One row. Pairs measured in turn: the ratio is the median of the pairs' ratios, which a machine that is slower for
    a while does not change; samples of unequal number, or not measured in turn: the ratio of the medians."""

    def __init__(self, name, unit, samples, baseline=None, baseline_samples=None, is_paired=True):
        self.name, self.unit, self.samples = name, unit, samples
        self.baseline, self.baseline_samples, self.is_paired = baseline, baseline_samples, is_paired

    def ratio(self):
        if not self.baseline_samples:
            return None
        if self.is_paired and len(self.samples) == len(self.baseline_samples):
            return statistics.median(a / b for a, b in zip(self.samples, self.baseline_samples))
        return statistics.median(self.samples) / statistics.median(self.baseline_samples)

    def row(self, of_commit):
        def rounded(value):
            return None if value is None else float(f'{value:.4g}')
        base = statistics.median(self.baseline_samples) if self.baseline_samples else None
        row = {'name': self.name, 'value': rounded(statistics.median(self.samples)), 'unit': self.unit, 'baseline': self.baseline,
                'baseline_value': rounded(base), 'ratio': rounded(self.ratio()), 'n': len(self.samples),
                'p50': rounded(statistics.median(self.samples)), 'p99': rounded(percentile(self.samples, 99)), 'commit': of_commit}
        row['goal'], row['is_met'] = judged(row)
        return row

    def plot(self):
        """Two strips over one scale: how the samples lie, ours above, the baseline below."""
        if not self.baseline_samples or self.ratio() > 20 or self.ratio() < 0.05:
            return []
        low = min(self.samples + self.baseline_samples)
        high = percentile(self.samples + self.baseline_samples, 99)
        return [f'    {low:8.4g} {strip(samples, low, high)} {high:.4g} {self.unit}  {who}'
                for samples, who in ((self.samples, self.name), (self.baseline_samples, self.baseline))]


def strip(samples, low, high, width=48):
    counts = [0] * width
    for value in samples:
        counts[min(width - 1, int((value - low) / ((high - low) or 1) * width))] += 1
    return ''.join(BARS[math.ceil(count / max(counts) * (len(BARS) - 1))] for count in counts)


def table(rows):
    heads = ('name', 'value', 'unit', 'p50', 'p99', 'n', 'ratio', 'goal', 'baseline')
    marks = {None: '', True: ' met', False: ' MISSED'}
    rows = [{**row, 'goal': row['goal'] + marks[row['is_met']]} for row in rows]
    cells = [heads] + [tuple('-' if row[h] is None else f'{row[h]:g}' if isinstance(row[h], float) else str(row[h]) for h in heads[:-1]) +
                       ('-' if row['baseline'] is None else f"{row['baseline_value']:g} {row['unit']}, {row['baseline']}",) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    return '\n'.join('  '.join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in cells)
