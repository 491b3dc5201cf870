"""How fast a replica trains, and how fast its images are loaded: each measured without the other."""
import math
import statistics
import time
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Callable, Iterable, Iterator

import torch

from ..compile_watch import FIRST_STEPS
from ..data.loader import Batches
from ..replicas import Replica
from ..sums import Sums

STEPS = 20  # that are measured; of the loader, batches, rounded up to as many of each worker
WARM_UP = FIRST_STEPS + 1
PATIENCE = 120.0  # seconds, after which fewer steps have to do
FEWEST = 3


@dataclass
class Speed:
    """What was measured.

    Attributes:
        rate: images a second of one replica: of steps, the median; of a loader, the mean.
        low, high: of steps, the quartiles; of a loader, the slowest and fastest of the rounds in which each worker
            brings a batch.
        n: how many steps or batches.
        first_seconds: until the first one was there.
    """
    rate: float
    low: float
    high: float
    n: int
    first_seconds: float


@dataclass
class StepSpeed(Speed):
    """The same of training steps.

    Attributes:
        compiles, compile_seconds: of the first steps, which are to compile all there is.
        recompilations: graphs that later steps compiled; 0 is right.
        fallbacks: operators that ran on the host.
    """
    compiles: int
    compile_seconds: float
    recompilations: int
    fallbacks: list[str]


class RandomBatches:
    """The same batch again and again, sent to the device ahead of its use, as those of worker processes are.

    Args:
        batches: the micro-batches of a step.
    """
    num_workers = 1

    def __init__(self, batches: list[list[torch.Tensor]]):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches) * (WARM_UP + STEPS)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        return islice((batch for _ in count() for batch in self.batches), len(self))


class Stopwatch:
    """Stands in for the `Progress` of an epoch, and times its steps.

    Args:
        replica: that trains.
        patience: seconds after which fewer steps have to do. Replicas have to take the same number of them: several
            have no limit.
    """

    def __init__(self, replica: Replica, patience: float = PATIENCE):
        self.replica = replica
        self.patience = patience if replica.world == 1 else math.inf
        self.before = replica.compiles()
        self.seconds: list[float] = []  # of each step
        self.compiles: list[tuple[int, float]] = []  # so many graphs, in so many seconds, after each step

    def training(self, groups: Iterable[Any], sums: Sums, first_step: int = 0) -> Iterator[Any]:
        """Passes the micro-batches of each step on until enough steps are measured."""
        start = begun = time.perf_counter()
        for group in groups:
            yield group
            sums.means_before()  # so that the host is one step ahead of the device and no more
            now = time.perf_counter()
            self.seconds.append(now - begun)
            self.compiles.append(self.replica.compiles())
            begun = now
            if len(self.seconds) >= WARM_UP + FEWEST and now - start > self.patience:
                return

    def speed(self, images: int) -> StepSpeed:
        """Of what was timed; `images` are a replica's of one step."""
        measured = self.seconds[WARM_UP:]
        fast, median, slow = statistics.quantiles(measured, n=4)
        compiled, compiling = self.compiles[FIRST_STEPS - 1]
        return StepSpeed(
            rate=images / median,
            low=images / slow,
            high=images / fast,
            n=len(measured),
            first_seconds=self.seconds[0],
            compiles=compiled - self.before[0],
            compile_seconds=compiling - self.before[1],
            recompilations=self.compiles[-1][0] - compiled,
            fallbacks=sorted(set(self.replica.fallbacks()) - {'aten::_local_scalar_dense'}),
        )


def measure_loader(
        batches: Batches,
        batch_size: int,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Loads batches of training, of as many epochs as it takes, and does nothing with them.

    Workers bring their batches in rounds, of one batch each. The first rounds, in which workers start and caches fill,
    are no measure, nor is a part of a round.
    """
    workers = max(1, batches.num_workers)
    warm_up = workers * WARM_UP
    wanted = warm_up + workers * math.ceil(STEPS / workers)
    start = clock()
    arrivals = []
    for _ in islice(epochs(batches), wanted):
        arrivals.append(clock())
        rounds = (len(arrivals) - warm_up) / workers
        if rounds >= FEWEST and rounds.is_integer() and arrivals[-1] - start > patience:
            break
    ends = arrivals[warm_up - 1::workers]
    rates = [workers * batch_size / (end - begin) for begin, end in zip(ends, ends[1:])]
    n = len(arrivals) - warm_up
    return Speed(
        rate=n * batch_size / (ends[-1] - ends[0]),
        low=min(rates),
        high=max(rates),
        n=n,
        first_seconds=arrivals[0] - start,
    )


def epochs(batches: Batches) -> Iterator[list[torch.Tensor]]:
    for epoch in count():
        batches.set_epoch(epoch)
        yield from batches
