"""Samples, rows of build/bench.json, and how they are shown."""
import math
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
BARS = ' ▁▂▃▄▅▆▇█'


def percentile(samples, percent):
    """Nearest rank: a value that was measured. With fewer than 100 samples p99 is the largest."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


def commit():
    def git(*words):
        return subprocess.run(['git', '-C', ROOT, *words], capture_output=True, text=True).stdout.strip()
    return (git('rev-parse', '--short=12', 'HEAD') or 'unknown') + ('-dirty' if git('status', '--porcelain') else '')


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
        return {'name': self.name, 'value': rounded(statistics.median(self.samples)), 'unit': self.unit, 'baseline': self.baseline,
                'baseline_value': rounded(base), 'ratio': rounded(self.ratio()), 'n': len(self.samples),
                'p50': rounded(statistics.median(self.samples)), 'p99': rounded(percentile(self.samples, 99)), 'commit': of_commit}

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
    heads = ('name', 'value', 'unit', 'p50', 'p99', 'n', 'ratio', 'baseline')
    cells = [heads] + [tuple('-' if row[h] is None else f'{row[h]:g}' if isinstance(row[h], float) else str(row[h]) for h in heads[:-1]) +
                       ('-' if row['baseline'] is None else f"{row['baseline_value']:g} {row['unit']}, {row['baseline']}",) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    return '\n'.join('  '.join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in cells)
