"""Speeds are those of the steady state, whatever comes before it."""
import math
import time
from types import SimpleNamespace

import pytest
import torch

from timm_coded.train import replicas
from timm_coded.train.doctor.speed import RandomBatches, Stopwatch, measure_loader
from timm_coded.train.engine import grouped
from timm_coded.train.sums import Sums


class SimulatedLoader:
    """Workers that take `seconds` for a batch and work two batches ahead, as PyTorch's do, on a clock of its own.

    Args:
        starts: when each worker is up.
        seconds: of the batch of a number.
        length: batches of an epoch.
    """

    def __init__(self, starts, seconds=lambda number: 1.0, length=1000):
        self.num_workers = len(starts)
        self.starts, self.seconds, self.length = starts, seconds, length
        self.now = 100.0
        self.epochs = []

    def clock(self):
        return self.now

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __iter__(self):
        workers = self.num_workers
        done, taken, begun = [], [], self.now
        for number in range(self.length):
            asked = taken[number - 2 * workers] if number >= 2 * workers else begun
            free = done[number - workers] if number >= workers else begun + self.starts[number % workers]
            done.append(max(asked, free) + self.seconds(number))
            self.now = max(self.now, done[number])
            taken.append(self.now)
            yield number


@pytest.mark.parametrize('starts', [
    [0.0],
    [0, 0, 0, 0],
    [0, 2, 4, 6],
    [9, 0, 0, 0],
    [0.1 * rank for rank in range(32)],
])
def test_loader_is_as_fast_as_its_workers_once_all_are_up(starts):
    loader = SimulatedLoader(starts)
    speed = measure_loader(loader, 10, clock=loader.clock)
    workers = len(starts)
    assert speed.rate == pytest.approx(10 * workers / 1.0)
    assert speed.first_seconds == pytest.approx(starts[0] + 1)
    assert speed.n == math.ceil(20 / workers) * workers


def test_slow_batches_count_in_the_mean_of_a_loader():
    loader = SimulatedLoader([0.0], lambda number: 10.0 if number % 10 == 5 else 1.0)
    speed = measure_loader(loader, 8, clock=loader.clock)
    assert (speed.low, speed.high) == pytest.approx((8 / 10, 8 / 1))
    assert speed.rate == pytest.approx(8 * 20 / (18 * 1 + 2 * 10))


def test_loader_of_short_epochs_goes_on_with_the_next():
    loader = SimulatedLoader([0.0], length=4)
    assert measure_loader(loader, 8, clock=loader.clock).n == 20
    assert loader.epochs == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize('patience, n', [(120.0, 6), (300.0, 8)])
def test_patience_ends_with_a_whole_round_the_third_at_the_earliest(patience, n):
    loader = SimulatedLoader([0, 0], lambda number: 50.0)
    speed = measure_loader(loader, 8, patience, loader.clock)
    assert speed.n == n and speed.rate == pytest.approx(2 * 8 / 50)


class Device:
    """Compiles a graph in each of the given steps, two seconds each."""

    def __init__(self, *compiling_steps, world=1, fallbacks=()):
        self.compiling_steps, self.world = compiling_steps, world
        self.step = 0
        self.operators = ['aten::_local_scalar_dense', *fallbacks]

    def compiles(self):
        number = 5 + sum(step <= self.step for step in self.compiling_steps)  # 5 came before
        return number, 2.0 * number

    def fallbacks(self):
        return self.operators


def train(device, micro_batches=1, patience=120.0):
    stopwatch = Stopwatch(device, patience)
    batches = RandomBatches([[torch.zeros(2)]] * micro_batches)
    steps = grouped(batches, micro_batches)
    for device.step, step in enumerate(stopwatch.training(steps, Sums(['loss'], replicas.create('cpu'))), 1):
        assert len(step) == micro_batches
    return stopwatch.speed(8)


def test_graphs_of_the_first_two_steps_are_expected_and_later_ones_are_not():
    speed = train(Device(1, 2))
    assert (speed.n, speed.compiles, speed.compile_seconds, speed.recompilations) == (20, 2, 4.0, 0)
    speed = train(Device(1, 3, 20))
    assert (speed.compiles, speed.compile_seconds, speed.recompilations) == (1, 2.0, 2)


def test_operators_on_the_host_are_named_but_for_the_reading_of_numbers():
    assert train(Device(1)).fallbacks == []
    assert train(Device(1, fallbacks=['aten::nonzero'])).fallbacks == ['aten::nonzero']


@pytest.mark.parametrize('micro_batches', [1, 3])
def test_slow_steps_are_fewer_but_for_replicas_that_wait_for_each_other(micro_batches):
    assert train(Device(1), micro_batches, patience=0.0).n == 3
    assert train(Device(1, world=2), micro_batches, patience=0.0).n == 20


def test_steps_last_until_the_device_has_done_the_work_of_the_one_before():
    class Busy:
        """Sums on a device that takes 5 ms for what the host hands to it at once."""
        def means_before(self):
            time.sleep(0.005)

    stopwatch = Stopwatch(Device(1))
    for _ in stopwatch.training(RandomBatches([[torch.zeros(2)]]), Busy()):
        pass
    assert stopwatch.speed(8).high <= 8 / 0.005


def test_speed_of_steps_is_their_median_without_the_first_three():
    stopwatch = Stopwatch(SimpleNamespace(world=1, compiles=lambda: (0, 0.0), fallbacks=lambda: []))
    stopwatch.seconds = [100.0, 50.0, 25.0, 1.0, 2.0, 4.0]
    stopwatch.compiles = [(0, 0.0)] * 6
    speed = stopwatch.speed(8)
    assert (speed.rate, speed.low, speed.high, speed.first_seconds) == (4.0, 2.0, 8.0, 100.0)
