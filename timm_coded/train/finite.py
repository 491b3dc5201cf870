"""Losses that are infinite or not a number: seen on the device, so that no step waits, and named with their step."""
import math
from typing import Sequence

import torch
from torch import Tensor


class FiniteWatch:
    """Remembers, on the device, in which micro-batch each term of the loss was not finite for the first time.

    Args:
        terms: their names.
        device: where the losses are.
        first: micro-batches of the epoch that came before.
    """

    def __init__(self, terms: Sequence[str], device: torch.device, first: int = 0):
        self.terms = list(terms)
        self.vector = torch.tensor([float(first)] + [math.inf] * len(self.terms)).to(device)
        self.before = self.vector

    def add(self, values: Sequence[Tensor]) -> None:
        """The terms of a micro-batch, scalars on the device."""
        count = self.vector[:1] + 1
        broken = ~torch.isfinite(torch.stack([value.detach().float() for value in values]))
        first = torch.where(broken, count, math.inf).minimum(self.vector[1:])
        self.follow(torch.cat([count, first]))

    def follow(self, vector: Tensor) -> None:
        """Goes on with a micro-batch looked at."""
        self.before, self.vector = self.vector, vector

    def broken(self, before: bool = False) -> tuple[int, list[str]] | None:
        """The first micro-batch, from 1, with a term that is not finite, and its such terms; waits for the device.

        Args:
            before: as it was one micro-batch ago, which is there without waiting.
        """
        _, *firsts = (self.before if before else self.vector).tolist()
        first = min(firsts)
        if math.isinf(first):
            return None
        return int(first), [term for term, value in zip(self.terms, firsts) if value == first]
