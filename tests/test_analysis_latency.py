"""Times of two networks are taken in turns, and compared pair by pair."""
import time

import numpy as np
import pytest
import torch
from torch import nn

from timm_coded.analysis.extraction.latency import latency_table
from timm_coded.analysis.stopwatch import WARM_UP, interleaved_times

pytestmark = pytest.mark.usefixtures('one_thread')


class Sleeper(nn.Module):
    """Takes so many milliseconds, and notes the batches that it saw."""

    def __init__(self, milliseconds):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.milliseconds, self.shapes = milliseconds, []

    def forward(self, x):
        time.sleep(self.milliseconds / 1000)
        self.shapes.append(tuple(x.shape))
        return x


def test_times_are_those_that_the_networks_take():
    full, cut = Sleeper(20), Sleeper(10)
    table = latency_table(full, cut, 8, repeats=5)
    assert [row['batch'] for row in table.rows] == [1, 64]
    for row in table.rows:
        assert 20 <= row['full, median [ms]'] < 40 and 10 <= row['extracted, median [ms]'] < 20
        assert 25 < row['extracted / full, median [%]'] < 75
        assert row['repeats'] == 5
    assert full.shapes == cut.shapes == [(1, 3, 8, 8)] * (5 + WARM_UP) + [(64, 3, 8, 8)] * (5 + WARM_UP)
    assert 'CPU, 1 threads' in table.title


def test_networks_take_turns_and_each_begins_half_of_the_time():
    calls = []
    times = interleaved_times([lambda: calls.append('a'), lambda: calls.append('b')], torch.device('cpu'), 4)
    assert ''.join(calls) == 'ab' * WARM_UP + 'abba' * 2
    assert times.shape == (2, 4) and (times >= 0).all()


def test_medians_spreads_and_ratios_are_those_of_the_pairs(monkeypatch):
    pairs = np.array([[10., 20., 40., 80., 100.], [5., 10., 10., 40., 90.]])
    monkeypatch.setattr('timm_coded.analysis.extraction.latency.interleaved_times', lambda *args: pairs)
    row = latency_table(Sleeper(0), Sleeper(0), 8, repeats=5).rows[0]
    assert (row['full, median [ms]'], row['full, IQR [ms]']) == (40., 60.)
    assert (row['extracted, median [ms]'], row['extracted, IQR [ms]']) == (10., 30.)
    assert (row['extracted / full, median [%]'], row['extracted / full, IQR [%]']) == (50., 0.)  # 50 50 25 50 90


def test_what_cannot_be_timed_is_an_error():
    with pytest.raises(ValueError, match='latency_repeats is 0'):
        latency_table(Sleeper(0), Sleeper(0), 8, repeats=0)
    with pytest.raises(ValueError, match='measured on cpu and cuda, the model is on meta'):
        latency_table(Sleeper(0).to('meta'), Sleeper(0), 8, repeats=1)
