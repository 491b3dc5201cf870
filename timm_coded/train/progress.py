"""What the user sees of a run: a live line on a terminal or in a notebook, plain lines in a file or a pipe."""
import shutil
import sys
import time
from typing import Iterable, Iterator, TextIO

from timm_coded.codes.progress import is_live

from .compile_watch import CompileWatch
from .replicas import Replica
from .sums import Sums

LIVE_SECONDS = 0.5  # between two refreshes of the live line
BAR_WIDTH = 20
WORTH_TELLING = 0.01  # of the time, waiting for data
MEMORY = 0.9  # of the running means of a step's times


class Progress:
    """Shows how far the run is, how fast it goes and when it will end.

    Args:
        replica: whose compilations are watched.
        epochs: at which epoch the run ends.
        steps: training steps of an epoch.
        batch_size: training images of a step, all replicas'.
        log_interval: steps between two plain lines.
        stream: where to write, by default standard output; lines are live if it is a terminal or a notebook.
            Only the first replica writes.
        workers: loader processes of a replica; 0 where its own process loads.
    """

    def __init__(
            self,
            replica: Replica,
            epochs: int,
            steps: int,
            batch_size: int,
            log_interval: int,
            stream: TextIO | None = None,
            workers: int = 0,
    ):
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.log_interval = log_interval
        self.workers = workers
        self.stream = stream or sys.stdout
        self.silent = replica.rank != 0
        self.live = is_live(self.stream) and not self.silent
        self.live_width = 0  # of the live line that stands on the screen
        self.watch = CompileWatch(replica, self.say)
        self.epoch = 0
        self.step_seconds = None  # running mean, without the steps that compile
        self.wait_seconds = 0.0  # of them, waiting for data
        self.evaluation_seconds = 0.0  # the last evaluation's

    def say(self, text: str) -> None:
        """Writes a line that stays."""
        self.write(f'{text}\n')

    def write(self, text: str) -> None:
        if self.silent:
            return
        blank = f'\r{" " * self.live_width}\r' if self.live_width else ''
        self.live_width = 0
        self.stream.write(blank + text)
        self.stream.flush()

    def show(self, text: str) -> None:
        """Writes the live line, as much of it as the terminal is wide."""
        text = text[:shutil.get_terminal_size().columns - 1]
        self.write(text)
        self.live_width = len(text)

    def training(self, groups: Iterable, sums: Sums, first_step: int = 0) -> Iterator:
        """Passes the micro-batches of each of an epoch's steps on.

        Args:
            sums: what the training adds up meanwhile, 'loss' and so on.
            first_step: steps of the epoch that came before.
        """
        shown = 0.0
        for step, (batch, waited, begun) in enumerate(timed(groups), first_step + 1):
            yield batch
            now = time.perf_counter()
            if self.watch.after_step('training', f'epoch {self.epoch}, training step {step}', now - begun):
                self.measure(now - begun, waited)
            if self.live and now - shown > LIVE_SECONDS:
                shown = now
                self.show(self.training_line(step, sums.means_before()))
            elif not self.live and not self.silent and (step % self.log_interval == 0 or step == self.steps):
                self.say(self.training_line(step, sums.means_before()))

    def evaluation(self, batches: Iterable, steps: int) -> Iterator:
        """Passes an evaluation's batches on."""
        start = time.perf_counter()
        for step, (batch, _, begun) in enumerate(timed(batches), 1):
            yield batch
            now = time.perf_counter()
            self.watch.after_step('evaluation', f'epoch {self.epoch}, evaluation step {step}', now - begun)
            if self.live:
                self.show(f'epoch {self.epoch} | evaluation {step}/{steps}')
        self.evaluation_seconds = time.perf_counter() - start

    def measure(self, seconds: float, waited: float) -> None:
        if self.step_seconds is None:
            self.step_seconds, self.wait_seconds = seconds, waited
        self.step_seconds += (1 - MEMORY) * (seconds - self.step_seconds)
        self.wait_seconds += (1 - MEMORY) * (waited - self.wait_seconds)

    def training_line(self, step: int, means: dict[str, float]) -> str:
        losses = [f'{name.replace("_", " ")} {mean:.4f}' for name, mean in means.items()]
        done = BAR_WIDTH * step // self.steps
        bar = f'[{"#" * done}{"." * (BAR_WIDTH - done)}]' if self.live else 'step'
        parts = [f'epoch {self.epoch}/{self.epochs - 1}', f'{bar} {step}/{self.steps}', *losses]
        if self.step_seconds:
            left = (self.epochs - self.epoch) * self.steps - step
            seconds = left * self.step_seconds + (self.epochs - self.epoch) * self.evaluation_seconds
            parts += [
                f'{self.batch_size / self.step_seconds:.0f} images/s',
                f'{self.wait_seconds / self.step_seconds:.0%} waiting for data{self.cores_needed()}',
                f'ETA {duration(seconds)}',
            ]
        return ' | '.join(parts)

    def cores_needed(self) -> str:
        """How many cores would load as fast as the device trains, where it waits: ' (4 cores load, 5.8 needed)'.

        Worker processes load while it trains, so that its step takes as long as they do; without any, one core does
        the one after the other.
        """
        waiting = self.wait_seconds / self.step_seconds
        if not WORTH_TELLING <= waiting < 1:
            return ''
        needed = self.workers / (1 - waiting) if self.workers else waiting / (1 - waiting)
        return f' ({counted_cores(self.workers)} load{"s" * (self.workers < 2)}, {needed:.1f} needed)'


def counted_cores(workers: int) -> str:
    return f'{workers} cores' if workers > 1 else '1 core'


def timed(batches: Iterable) -> Iterator[tuple]:
    """Each batch with the seconds it was waited for, and when the waiting began."""
    begun = time.perf_counter()
    for batch in batches:
        yield batch, time.perf_counter() - begun, begun
        begun = time.perf_counter()


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
