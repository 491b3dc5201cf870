"""Which images a replica trains or evaluates on, in which order: a function of (seed, epoch, replica) alone."""
from typing import Iterator

import numpy as np
from torch.utils.data import Sampler

from ..errors import UserError

Key = tuple[int, int]  # (epoch, index of the image)


class TrainingSampler(Sampler[Key]):
    """One replica's images of an epoch, shuffled, without the incomplete last step.

    A step takes the next `world * accumulation * batch_size` images of the epoch's order, which is the same for every
    number of replicas; of those, replica r takes in its micro-batch a the images from (a * world + r) * batch_size on.

    Args:
        length: number of images of the data set.
        batch_size: images of a micro-batch.
        accumulation: micro-batches of a step.
        rank: of the replica.
        world: number of replicas.
        seed: of the run.

    Attributes:
        epoch, first_step: set them before a pass; the steps before `first_step` are left out.
    """

    def __init__(self, length: int, batch_size: int, accumulation: int, rank: int, world: int, seed: int):
        self.length = length
        self.micro_batches = (accumulation, world, batch_size)
        self.rank = rank
        self.seed = seed
        self.steps = length // (accumulation * world * batch_size)
        self.epoch = 0
        self.first_step = 0

    def __len__(self) -> int:
        accumulation, _, batch_size = self.micro_batches
        return (self.steps - self.first_step) * accumulation * batch_size

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        whole = order[:self.steps * np.prod(self.micro_batches)].reshape(self.steps, *self.micro_batches)
        own = whole[self.first_step:, :, self.rank].ravel().tolist()
        return iter([(self.epoch, index) for index in own])


class EvaluationSampler(Sampler[Key]):
    """One replica's share of all images, in order: every image is some replica's, and only one's.

    Args:
        length: number of images of the data set.
        rank: of the replica.
        world: number of replicas.
    """

    def __init__(self, length: int, rank: int, world: int):
        self.indices = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Key]:
        return iter([(0, index) for index in self.indices])


def accumulation_steps(global_batch_size: int | None, batch_size: int, world: int) -> int:
    """How many micro-batches of each replica make a step of `global_batch_size` images; 1 for None.

    Raises:
        UserError: it does not divide; the message lists what does.
    """
    if global_batch_size is None:
        return 1
    if global_batch_size % (batch_size * world) == 0:
        return global_batch_size // (batch_size * world)
    wrong = f'--global-batch-size {global_batch_size} is no multiple of {world} x --batch-size {batch_size} (replicas)'
    if global_batch_size % world == 0:
        share = global_batch_size // world
        raise UserError(f'{wrong}; --batch-size may be {", ".join(map(str, divisors(share)))}')
    fitting = [count for count in divisors(global_batch_size) if global_batch_size // count % batch_size == 0]
    if not fitting:
        raise UserError(f'{wrong}; no number of replicas fits this --batch-size')
    raise UserError(f'{wrong}; with this --batch-size the replicas may be {", ".join(map(str, fitting))}')


def divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
