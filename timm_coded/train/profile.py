"""A profiler's trace of a few training steps, for `--profile`."""
from itertools import chain, islice
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

from .replicas import Replica

FIRST_STEPS = 5  # of the run are not traced: they compile, and fill the queues


class Profile:
    """Traces training steps, once in a run.

    Args:
        steps: how many; None for none at all.
        folder: of the run; the trace goes into its folder 'profile'.
        replica: whose device is traced.
        say: writes a line.
    """

    def __init__(self, steps: int | None, folder: Path, replica: Replica, say: Callable[[str], None]):
        self.steps = steps or 0
        self.first_steps = FIRST_STEPS
        self.folder = folder / 'profile'
        self.replica = replica
        self.say = say

    def training(self, steps: Iterable[Any]) -> Iterator[Any]:
        """Passes an epoch's steps on. The trace ends with the epoch at the latest: an evaluation is none of it."""
        steps = iter(steps)
        if self.steps:
            for step in islice(steps, self.first_steps):
                self.first_steps -= 1
                yield step
            for step in islice(steps, 1):  # if the epoch goes on at all
                yield from self.trace(chain([step], islice(steps, self.steps - 1)))
        yield from steps

    def trace(self, steps: Iterable[Any]) -> Iterator[Any]:
        self.steps = count = 0
        with self.replica.profiler(self.folder):
            for count, step in enumerate(steps, 1):  # noqa: B007  # it is read below
                yield step
        self.say(f"traced {count} training step{'s' if count > 1 else ''}: {self.folder} (look at it with "
                 "TensorBoard's profile plugin, or at https://ui.perfetto.dev)")
