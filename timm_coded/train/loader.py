"""From samples to batches of one shape, by any number of worker processes."""
import multiprocessing
from typing import Iterator

import torch
from torch.utils.data import DataLoader, Sampler, default_collate

from .errors import UserError
from .samples import Samples

IGNORED = -1  # the target of an image that only fills up a batch


class Collate:
    """Stacks samples to a batch of a fixed size, filled up with copies of the last whose target is -1."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size

    def __call__(self, samples: list) -> list[torch.Tensor] | UserError:
        for sample in samples:
            if isinstance(sample, UserError):
                return sample
        image, _, *boxes = samples[-1]
        return default_collate(samples + [(image, IGNORED, *boxes)] * (self.batch_size - len(samples)))


class Batches:
    """A loader whose unreadable images are raised as errors.

    Args:
        loader: of batches, or of `UserError` in the place of one.
    """

    def __init__(self, loader: DataLoader):
        self.loader = loader
        self.num_workers = loader.num_workers

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        for batch in self.loader:
            if isinstance(batch, UserError):
                raise UserError(str(batch))  # raising `batch` would tie it to this frame, and keep the workers alive
            yield batch

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """Of training: which epoch the next pass is, and how many of its steps it leaves out."""
        self.loader.sampler.epoch, self.loader.sampler.first_step = epoch, first_step


def create_batches(samples: Samples, sampler: Sampler, batch_size: int, workers: int) -> Batches:
    """Batches [batch_size, ...] of the `samples` whose keys the sampler gives, the last one padded.

    Workers come from a fork server, which is started before any thread of XLA and holds none of its locks.
    """
    return Batches(DataLoader(
        samples,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=Collate(batch_size),
        multiprocessing_context=fork_server() if workers else None,
        persistent_workers=workers > 0,
        generator=torch.Generator(),
    ))


def fork_server() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    return context
