"""A few images of each class, where all would take too long."""
from typing import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor


class ClassSubset:
    """Batches of at most `limit` samples of each class, drawn at random: all of one shape, the last filled up."""

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]], limit: int, seed: int = 0) -> None:
        """Passes over `batches` once for their targets.

        Args:
            batches: images [B, 3, H, W] and targets [B], -1 for fillers; they can be passed over again.
        """
        self.batches = batches
        targets = torch.cat([target for _, target in batches] or [torch.empty(0, dtype=torch.int64)]).numpy()
        self.chosen = torch.from_numpy(few_of_each(targets, limit, seed) & (targets >= 0))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        held_images: list[Tensor] = []
        held_targets: list[Tensor] = []
        size = start = 0
        for images, target in self.batches:
            size = size or len(target)
            chosen = self.chosen[start:start + len(target)].nonzero().flatten()
            start += len(target)
            held_images.append(images[chosen.to(images.device)])
            held_targets.append(target[chosen])
            if sum(map(len, held_targets)) >= size:
                images, target = torch.cat(held_images), torch.cat(held_targets)
                yield images[:size], target[:size]
                held_images, held_targets = [images[size:]], [target[size:]]
        left = sum(map(len, held_targets))
        if left:
            images, target = torch.cat(held_images), torch.cat(held_targets)
            filler = images[-1:].expand(size - left, -1, -1, -1)
            yield torch.cat([images, filler]), torch.cat([target, target.new_full((size - left,), -1)])


def few_of_each(targets: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Which of the samples [S] to take: `limit` of each target at random, or all where it has no more."""
    order = np.lexsort((np.random.default_rng(seed).random(len(targets)), targets))
    ordered = targets[order]
    rank = np.arange(len(targets)) - np.searchsorted(ordered, ordered)
    chosen = np.zeros(len(targets), bool)
    chosen[order[rank < limit]] = True
    return chosen
