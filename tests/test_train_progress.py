import io
import math

import pytest
import torch

from timm_coded.train import replicas
from timm_coded.train.compile_watch import CompileWatch
from timm_coded.train.progress import Progress, duration
from timm_coded.train.sums import Sums


class CountingReplica:
    """Compiles a graph, in 1.5 s, at each of the given steps, and falls back to the host from a step on."""

    def __init__(self, *compiling_steps: int, fallback_step: float = math.inf, rank: int = 0):
        self.rank = rank
        self.compiling_steps = compiling_steps
        self.fallback_step = fallback_step
        self.looks = -1  # the first look is before the first step

    def compiles(self):
        self.looks += 1
        count = sum(step <= self.looks for step in self.compiling_steps)
        return count, 1.5 * count

    def fallbacks(self):
        return ['aten::_local_scalar_dense'] + ['aten::nonzero'] * (self.looks >= self.fallback_step)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(stream, steps=6, log_interval=2, replica=None, first_step=0):
    progress = Progress(replica or CountingReplica(), 3, steps, 8, log_interval, stream)
    progress.epoch = 1
    sums = Sums(['loss', 'coding_loss'], replicas.create('cpu'))
    received = []
    for batch in progress.training(range(first_step, steps), sums, first_step):
        received.append(batch)
        sums.add(torch.tensor(8), {'loss': torch.tensor(16.0), 'coding_loss': torch.tensor(4.0)})
    assert received == list(range(first_step, steps))
    return progress


def test_plain_lines_come_every_interval_and_at_the_end():
    stream = io.StringIO()
    train(stream, steps=5, log_interval=2)
    lines = [line for line in stream.getvalue().splitlines() if '|' in line]
    assert [line.split(' | ')[:2] for line in lines] == [['epoch 1/2', f'step {step}/5'] for step in (2, 4, 5)]
    for part in ('loss 2.0000', 'coding loss 0.5000', 'images/s', '% waiting for data', 'ETA 0:00'):
        assert part in lines[-1]
    assert '\r' not in stream.getvalue()


def test_epoch_that_goes_on_counts_its_steps_from_where_it_was():
    stream = io.StringIO()
    train(stream, steps=8, log_interval=3, first_step=4)
    lines = [line for line in stream.getvalue().splitlines() if '|' in line]
    assert [line.split(' | ')[1] for line in lines] == ['step 6/8', 'step 8/8']
    assert 'training step 5 took' in stream.getvalue()


@pytest.mark.parametrize('stream', [io.StringIO(), Terminal()])
def test_only_the_first_replica_writes(stream):
    train(stream, replica=CountingReplica(1, rank=1)).say('done')
    assert stream.getvalue() == ''


def test_live_line_is_written_over_and_cleared_for_a_line_that_stays():
    stream = Terminal()
    progress = train(stream)
    progress.say('done')
    *_, live, cleared = stream.getvalue().split('\r')
    assert cleared == 'done\n' and live.strip() == ''
    assert '[###.................] 1/6' in stream.getvalue()


def test_first_step_tells_what_compiling_took():
    lines = []
    watch = CompileWatch(CountingReplica(1), lines.append)
    for step in range(1, 5):
        watch.after_step('training', f'step {step}', 2.0)
    assert lines == ['step 1 took 2.0 s, 1.5 s of them to compile 1 graph']


@pytest.mark.parametrize('step', [3, 7])
def test_later_compilation_is_warned_of_with_its_step(step):
    lines = []
    watch = CompileWatch(CountingReplica(1, step), lines.append)
    for number in range(1, 9):
        watch.after_step('training', f'step {number}', 2.0)
    assert len(lines) == 2 and lines[1].startswith(f'WARNING: step {step} compiled 1 graph anew in 1.5 s')


def test_first_evaluation_may_compile_after_many_training_steps():
    lines = []
    watch = CompileWatch(CountingReplica(1, 6), lines.append)
    for number in range(1, 6):
        watch.after_step('training', f'step {number}', 2.0)
    watch.after_step('evaluation', 'evaluation', 2.0)
    assert not any('WARNING' in line for line in lines) and 'evaluation took 2.0 s, 1.5 s' in lines[-1]


def test_operator_that_runs_on_the_host_is_warned_of_once():
    lines = []
    watch = CompileWatch(CountingReplica(fallback_step=2), lines.append)
    for number in range(1, 5):
        watch.after_step('training', f'step {number}', 2.0)
    warnings = [line for line in lines if 'WARNING' in line]
    assert len(warnings) == 1 and warnings[0].startswith('WARNING: step 2 ran aten::nonzero on the host')


@pytest.mark.parametrize('workers, waited, expected', [
    (4, 0.5, '50% waiting for data (4 cores load, 8.0 needed)'),
    (3, 0.25, '25% waiting for data (3 cores load, 4.0 needed)'),
    (1, 0.9, '90% waiting for data (1 core loads, 10.0 needed)'),
    (0, 0.75, '75% waiting for data (1 core loads, 3.0 needed)'),  # 3 s to load for each that the device works
    (0, 0.2, '20% waiting for data (1 core loads, 0.2 needed)'),
    (4, 0.001, '0% waiting for data'),
])
def test_line_tells_how_many_cores_would_keep_the_device_busy(workers, waited, expected):
    progress = Progress(CountingReplica(), 1, 10, 8, 1, io.StringIO(), workers)
    progress.measure(2.0, 2.0 * waited)
    assert progress.training_line(5, {'loss': 1.0}).endswith(f' | {expected}')


def test_live_line_tells_in_80_columns_when_the_run_will_end(monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    stream = Terminal()
    progress = Progress(CountingReplica(), 250, 8340, 1536, 50, stream)
    progress.epoch = 100
    progress.measure(0.5, 0.01)
    progress.show(progress.training_line(4170, {'loss': 3.2, 'coding_loss': 0.1}))
    assert len(stream.getvalue()) == 79
    assert 'epoch 100/249 | [##########..........] 4170/8340 | ETA 173:10:15 | 3072 images' in stream.getvalue()


def test_durations_read_as_on_a_clock():
    assert [duration(seconds) for seconds in (0.4, 61, 3599.6, 36_000)] == ['0:00', '1:01', '1:00:00', '10:00:00']
