"""From samples to batches of one shape, by any number of worker processes."""
import multiprocessing
import signal
import threading
from multiprocessing import forkserver
from typing import Any, Iterator, NamedTuple

import torch
from torch.utils.data import DataLoader, default_collate

from ..errors import UserError
from ..parent import end_with_parent
from .mixing import Mixing
from .sampler import EvaluationSampler, TrainingSampler
from .samples import IGNORED, Sample, Samples
from .unreadable import Unreadable


class Batch(NamedTuple):
    """Tensors of a batch, and name and reason of each image of it that could not be read."""
    tensors: list[torch.Tensor]
    unreadable: list[tuple[str, str]]


class Collate:
    """Stacks samples to a batch of a fixed size, filled up with copies of the last whose target is -1.

    Args:
        batch_size: of each batch.
        mixing: mixes the images and makes the targets soft, if given.
    """

    def __init__(self, batch_size: int, mixing: Mixing | None = None):
        self.batch_size = batch_size
        self.mixing = mixing

    def __call__(self, given: list[Sample | UserError]) -> Batch | UserError:
        samples: list[Sample] = []
        for sample in given:
            if isinstance(sample, UserError):
                return sample
            samples.append(sample)
        unreadable = [sample.unreadable for sample in samples if sample.unreadable]
        filler = samples[-1]._replace(target=IGNORED)
        samples += [filler] * (self.batch_size - len(samples))
        boxes = default_collate([sample.boxes for sample in samples])
        if self.mixing and not unreadable:
            images, targets = self.mixing(samples)
        else:
            images, targets = default_collate([(sample.image, sample.target) for sample in samples])
        return Batch([images, targets, *boxes], unreadable)


class Batches:
    """A loader that gives every batch of a pass, or raises an error.

    Args:
        loader: of a `Batch`, or of a `UserError` in its place.
        unreadable: the account of images that could not be read.
    """

    def __init__(self, loader: DataLoader[Any], unreadable: Unreadable):
        self.loader = loader
        self.num_workers = loader.num_workers
        self.unreadable = unreadable

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        expected, received = len(self), 0
        for batch in self.received():
            if isinstance(batch, UserError):
                raise UserError(str(batch))  # raising `batch` would tie it to this frame, and keep the workers alive
            for name, reason in batch.unreadable:
                self.unreadable.add(name, reason)
            received += 1
            yield batch.tensors
        if received != expected:
            raise UserError(f'the loader ended after {received} of {expected} batches: an error in the loader, not in '
                            'the images; resume the run')

    def received(self) -> Iterator[Batch | UserError]:
        """What the loader gives; raises `UserError` within seconds of the death of a worker process."""
        batches = iter(self.loader)
        while True:
            try:
                batch = next(batches, None)
            except (ConnectionError, EOFError, RuntimeError) as error:
                if not self.num_workers or str(error).startswith('Caught '):  # raised by the data set, in a worker
                    raise
                raise UserError(
                    f'a loader process died ({" ".join(str(error).split())}): the usual cause is that memory or shared '
                    'memory (/dev/shm) ran out; lower --workers or --batch-size, and resume the run') from error
            if batch is None:
                return
            yield batch

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """Which epoch the next pass is, and how many of its steps it leaves out; all passes of evaluation are one."""
        if isinstance(self.loader.sampler, TrainingSampler):
            self.loader.sampler.epoch, self.loader.sampler.first_step = epoch, first_step


def create_batches(
        samples: Samples,
        sampler: TrainingSampler | EvaluationSampler,
        batch_size: int,
        workers: int,
        mixing: Mixing | None = None,
        unreadable: Unreadable | None = None,
) -> Batches:
    """Batches [batch_size, ...] of the `samples` whose keys the sampler gives, the last one padded.

    Workers come from a fork server, which is started before any thread of XLA and holds none of its locks, and stay for
    all epochs.

    Args:
        samples: a `Sample` for each key.
        sampler: of the keys of a pass.
        mixing: of the images of a batch, if any.
        unreadable: the account of images that could not be read; default: the first is an error.
    """
    return Batches(
        DataLoader(
            samples,
            batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=Collate(batch_size, mixing),
            multiprocessing_context=fork_server() if workers else None,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            generator=torch.Generator(),
        ),
        unreadable or Unreadable(),
    )


def fork_server() -> multiprocessing.context.BaseContext:
    """A server of workers that outlive what a terminal or a scheduler sends to all of a run's processes.

    The run stops in order only as long as its workers go on: SIGINT and SIGTERM are for the launching process alone.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    if threading.current_thread() is threading.main_thread():  # only there can they be set
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
        try:
            forkserver.ensure_running()  # which inherits that they are ignored
        finally:
            for number, handler in zip(numbers, before):
                signal.signal(number, handler)
    return context


def start_worker(worker: int) -> None:
    """Makes a worker outlive the first SIGTERM, but not its parent.

    The second ends it: PyTorch and Python each send one to a worker that hangs at the end of a run. PyTorch's own watch
    on the parent sees the fork server in its place, which lives as long as its workers.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
    end_with_parent()
