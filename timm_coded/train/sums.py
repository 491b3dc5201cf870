"""Metrics summed on the device, so that no step waits for the host to read a number."""
from typing import Sequence

import torch

from .replicas import Replica


class Sums:
    """Sums of named metrics over images, in one float32 vector on the device (counts are exact to 16.7 million).

    Args:
        names: of the metrics.
        replica: on whose device they are summed, and with whose peers.
        start: the vector to go on from, [1 + metrics].
    """

    def __init__(self, names: Sequence[str], replica: Replica, start: torch.Tensor | None = None):
        self.names = list(names)
        self.replica = replica
        start = torch.zeros(1 + len(self.names)) if start is None else start
        self.vector = start.to(replica.device)  # made on the host: no graph of its own on XLA
        self.before = self.vector

    def add(self, count: torch.Tensor, sums: dict[str, torch.Tensor]) -> None:
        """Adds a batch: how many images it has, and each metric's sum over them; all scalars on the device."""
        terms = [count, *(sums[name] for name in self.names)]
        self.follow(self.vector + torch.stack([term.detach().float() for term in terms]))

    def follow(self, vector: torch.Tensor) -> None:
        """Goes on with a batch added to the vector."""
        self.before, self.vector = self.vector, vector

    def means(self) -> dict[str, float]:
        """Each metric's mean over all replicas' images, for all replicas; waits for them and for the device."""
        return self.read(self.replica.peers.gather(self.vector).double().sum(0))

    def means_before(self) -> dict[str, float]:
        """This replica's means as they were one batch ago: they are ready, reading them does not hold up the device."""
        return self.read(self.before)

    def read(self, vector: torch.Tensor) -> dict[str, float]:
        count, *sums = vector.tolist()
        return {name: value / count for name, value in zip(self.names, sums)} if count else {}
