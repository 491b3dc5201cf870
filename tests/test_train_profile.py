"""Which steps `--profile` traces, and that a real profiler writes them."""
import contextlib
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from timm_coded.train import replicas
from timm_coded.train.profile import Profile

ROOT = Path(__file__).parents[1]


class RecordingReplica:
    """Notes when its profiler starts and stops, among the steps that the test notes."""

    def __init__(self):
        self.notes = []

    @contextlib.contextmanager
    def profiler(self, folder):
        self.notes.append('start')
        try:
            yield
        finally:
            self.notes.append('stop')


def train(steps: int | None, *epochs: int) -> tuple[list, list[str]]:
    """What happened in which order in epochs of so many steps, and what was said."""
    replica, lines, number = RecordingReplica(), [], 0
    profile = Profile(steps, Path('run'), replica, lines.append)
    for epoch in epochs:
        batches = list(range(number + 1, number + epoch + 1))
        received = []
        for batch in profile.training(batches):
            replica.notes.append(batch)
            received.append(batch)
        assert received == batches
        number += epoch
        replica.notes.append('evaluation')
    return replica.notes, lines


def test_steps_after_the_first_five_are_traced_once():
    notes, lines = train(2, 9, 9)
    assert notes[:9] == [1, 2, 3, 4, 5, 'start', 6, 7, 'stop'] and notes.count('start') == 1
    assert len(lines) == 1 and lines[0].startswith('traced 2 training steps: run')


def test_trace_ends_with_its_epoch():
    notes, lines = train(100, 7, 7)
    assert notes[5:10] == ['start', 6, 7, 'stop', 'evaluation'] and notes.count('start') == 1
    assert lines[0].startswith('traced 2 training steps: ')


def test_short_epochs_are_traced_from_the_sixth_step_of_the_run_on():
    notes, _ = train(9, 3, 2, 2)
    assert notes == [1, 2, 3, 'evaluation', 4, 5, 'evaluation', 'start', 6, 7, 'stop', 'evaluation']


def test_without_the_flag_nothing_is_traced():
    assert train(None, 9) == ([1, 2, 3, 4, 5, 6, 7, 8, 9, 'evaluation'], [])


def test_error_in_a_traced_step_stops_the_profiler():
    replica = RecordingReplica()
    steps = Profile(3, Path('run'), replica, print).training(range(9))
    for _ in range(7):
        next(steps)
    steps.close()
    assert replica.notes == ['start', 'stop']


def test_trace_of_plain_pytorch_holds_the_steps_operators(tmp_path):
    replica = replicas.create('cpu')
    for _ in Profile(3, tmp_path / 'run', replica, print).training(range(12)):
        torch.ones(8, 8) @ torch.ones(8, 8)
        replica.end_step()
    path, = (tmp_path / 'run' / 'profile').iterdir()
    events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
    assert sum(event.get('name') == 'aten::mm' for event in events) == 3


def test_trace_of_xla_holds_what_the_device_ran(tmp_path):
    pytest.importorskip('torch_xla')
    code = (
        'import torch\n'
        'from pathlib import Path\n'
        'from timm_coded.train import replicas\n'
        'from timm_coded.train.profile import Profile\n'
        "replica = replicas.create('xla')\n"
        'image = torch.ones(64, 64).to(replica.device)\n'
        f'for _ in Profile(3, Path({str(tmp_path)!r}), replica, print).training(range(12)):\n'
        '    image = image @ image / 64\n'
        '    replica.end_step()\n')
    command = [sys.executable, '-W', 'error', '-c', code]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('traced 3 training steps: ')
    traces, = (tmp_path / 'profile' / 'plugins' / 'profile').iterdir()
    assert len(list(traces.glob('*.xplane.pb'))) == 1
    trace, = traces.glob('*.trace.json.gz')
    events = json.loads(gzip.decompress(trace.read_bytes()))['traceEvents']
    assert sum(event.get('name', '').startswith('dot') for event in events) == 3
