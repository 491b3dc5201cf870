"""Distributions of what the subNNs of a block put out, counted without keeping the outputs."""
import math

import torch
from torch import Tensor

BINS = 128
SMALLEST = 2. ** -20  # the range before anything is seen


class SubnnHistograms:
    """Counts of |values| of each of N subNNs, for samples of its active and of its inactive classes apart.

    The bins are equally wide, from 0 to `range`, the smallest power of 2 that no value exceeds: when one does, the
    range is doubled and neighbouring bins become one, so that one pass is enough and batches make no difference. A
    value on an edge counts in the upper bin, the range itself in the last.

    Attributes:
        counts: [2, N, BINS] int64, inactive classes first.
        totals: float64 [2, N, 2], sums of |values| and of their squares.
    """

    def __init__(self, num_subnns: int):
        self.range = SMALLEST
        self.counts = torch.zeros(2, num_subnns, BINS, dtype=torch.int64)
        self.totals = torch.zeros(2, num_subnns, 2, dtype=torch.float64)

    def add(self, subnn: int, values: Tensor, active: Tensor) -> None:
        """Counts a subNN's outputs, values [B, ...], of samples of which active [B] int64, on the CPU, is 1 or 0.

        Raises:
            ValueError: a value is not finite.
        """
        values = values.abs().flatten(1)
        highest = float(values.amax())
        if not math.isfinite(highest):
            raise ValueError(f'subNN {subnn} puts out values that are not finite: the model is broken')
        while self.range < highest:
            self.range *= 2
            merged = self.counts.unflatten(2, (BINS // 2, 2)).sum(3)
            self.counts = torch.cat([merged, torch.zeros_like(merged)], 2)
        bins = (values * (BINS / self.range)).int().clamp_max_(BINS - 1)  # exact: the width is a power of 2
        bins += BINS * active[:, None].int().to(bins.device)
        self.counts[:, subnn] += torch.bincount(bins.flatten(), minlength=2 * BINS).view(2, BINS).cpu()
        sums = torch.stack([values.sum(1, dtype=torch.float64), values.square().sum(1, dtype=torch.float64)], 1)
        self.totals[:, subnn].index_add_(0, active, sums.cpu())

    @property
    def edges(self) -> Tensor:
        """[BINS + 1] float64."""
        return torch.arange(BINS + 1, dtype=torch.float64) * (self.range / BINS)

    def mean(self) -> Tensor:
        """Mean of |values|, [2, N]; NaN where there are none."""
        return self.totals[:, :, 0] / self.counts.sum(2)

    def mean_square(self) -> Tensor:
        """[2, N]; NaN where there are none."""
        return self.totals[:, :, 1] / self.counts.sum(2)

    def quantile(self, share: float) -> Tensor:
        """Upper edge of the bin up to which at least that share of the values lie, [2, N]; NaN where there are none."""
        below = self.counts.cumsum(2)
        needed = share * below[:, :, -1:]
        index = (below >= needed).int().argmax(2)
        return torch.where(below[:, :, -1] > 0, self.edges[index + 1], torch.nan)

    def density(self) -> Tensor:
        """Share of the values in a bin by its width, [2, N, BINS]; NaN where there are none."""
        return self.counts / self.counts.sum(2, keepdim=True) / (self.range / BINS)
