"""Metrics summed on the device, so that no step waits for the host to read a number."""
from typing import Sequence

import torch


class Sums:
    """Sums of named metrics over images, in one float32 vector on the device (counts are exact to 16.7 million).

    Args:
        names: of the metrics.
        device: where they are summed.
    """

    def __init__(self, names: Sequence[str], device: torch.device):
        self.names = list(names)
        self.vector = torch.zeros(1 + len(self.names)).to(device)  # made on the host: no graph of its own on XLA
        self.before = self.vector

    def add(self, count: torch.Tensor, sums: dict[str, torch.Tensor]) -> None:
        """Adds a batch: how many images it has, and each metric's sum over them; all scalars on the device."""
        terms = [count, *(sums[name] for name in self.names)]
        self.before = self.vector
        self.vector = self.vector + torch.stack([term.detach().float() for term in terms])

    def means(self) -> dict[str, float]:
        """Each metric's mean over all images, nothing before the first; waits for the device."""
        return self.read(self.vector)

    def means_before(self) -> dict[str, float]:
        """The means as they were one batch ago: these are ready, so that reading them does not hold up the device."""
        return self.read(self.before)

    def read(self, vector: torch.Tensor) -> dict[str, float]:
        count, *sums = vector.tolist()
        return {name: value / count for name, value in zip(self.names, sums)} if count else {}
