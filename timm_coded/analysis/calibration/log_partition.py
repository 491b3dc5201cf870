"""Softmax of stored logits at any temperature, for the price of one pass over them.

Everything that a temperature T changes in a sample is one smooth function of one number. With z the logits, z_max their
largest, b = 1/T the inverse temperature and y the target,

    g(b) = log sum_k exp(b (z_k - z_max)),
    probability of the predicted class = exp(-g(b)),        negative log-likelihood = g(b) + b (z_max - z_y).

`log_partition` tabulates g with its first two derivatives on a grid of log b, in float64; `interpolate` reads it
between the nodes by quintic Hermite polynomials, to 1e-6 (1e-7 is usual). Sums over samples may be taken of the table
before it is read. So the fits and tests of many splits cost little, where each step of each fit would be a pass over
[S, K] logits. The nodes part octaves evenly, so that all but the terms of the lowest octave come by squaring.
"""
import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

OCTAVES = 5  # of temperatures on either side of T = 1
STEPS = 8  # nodes of an octave
STEP = math.log(2) / STEPS
LOWEST, HIGHEST = 2. ** -OCTAVES, 2. ** OCTAVES  # temperatures
CHUNK = 2 ** 16  # logits at a time: what stays in the processor's cache


def log_partition(logits: ArrayLike) -> np.ndarray:
    """g of each sample and its derivatives at the nodes.

    Args:
        logits: [S, K], of any type up to float32's range.

    Returns:
        [S, J, 3] float64: g, h g' and h^2 g'' by log b at J nodes, the step of the grid h apart, of which the first is
        the highest temperature.

    Raises:
        ValueError: a logit is not finite.
    """
    logits = torch.as_tensor(logits)
    if not torch.isfinite(logits).all():
        raise ValueError('there are logits that are not finite numbers: expected the outputs of a model that works')
    nodes = 2 * OCTAVES * STEPS + 1
    table = torch.empty((len(logits), nodes, 3), dtype=torch.float64)
    chunk = max(1, CHUNK // logits.shape[1])
    for rows, out in zip(logits.split(chunk), table.split(chunk)):
        rows = rows.double()
        fill_table(rows - rows.amax(1, keepdim=True), out)
    return table.numpy()


def fill_table(z: Tensor, table: Tensor) -> None:
    """Writes the table [B, J, 3] of z [B, K] float64, logits less their largest."""
    nodes = table.shape[1]
    inverse = torch.exp2(torch.arange(nodes, dtype=torch.float64) / STEPS - OCTAVES)  # b
    moments = torch.stack((torch.ones_like(z), z, z * z), 2)  # [B, K, 3]
    terms = torch.exp(z[:, None] * inverse[:STEPS, None])  # of the lowest octave of b, [B, STEPS, K]
    sums = torch.empty((len(z), nodes, 3), dtype=torch.float64)
    for start in range(0, nodes, STEPS):
        end = min(start + STEPS, nodes)
        sums[:, start:end] = (terms @ moments)[:, :end - start]
        terms.mul_(terms)
    mean = sums[:, :, 1] / sums[:, :, 0]
    variance = (sums[:, :, 2] / sums[:, :, 0] - mean * mean).clamp_min(0.)
    table[:, :, 0] = sums[:, :, 0].log()
    table[:, :, 1] = STEP * inverse * mean
    table[:, :, 2] = STEP ** 2 * (inverse * mean + inverse ** 2 * variance)


def interpolate(
        table: np.ndarray,
        temperature: np.ndarray,
        rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a table, or sums of its rows, at a temperature for each row.

    Above the highest temperature of the grid g is continued by its Taylor polynomial of second degree in b, which tends
    to a straight line there; below the lowest it is read at the lowest.

    Args:
        table: [S, J, 3], as `log_partition` gives it.
        temperature: T, [R], positive.
        rows: of the table, [R]; all of them by default.

    Returns:
        g and its derivative by log b, [R] each.
    """
    log_inverse = -np.log(temperature)
    place = np.clip((log_inverse + OCTAVES * math.log(2)) / STEP, 0, table.shape[1] - 1)
    left = np.minimum(place.astype(np.int64), table.shape[1] - 2)
    t = place - left
    rows = np.arange(len(table)) if rows is None else rows
    (f0, d0, s0), (f1, d1, s1) = table[rows, left].T, table[rows, left + 1].T
    rise = f1 - f0
    c3 = 10 * rise - 6 * d0 - 4 * d1 - 1.5 * s0 + 0.5 * s1
    c4 = -15 * rise + 8 * d0 + 7 * d1 + 1.5 * s0 - s1
    c5 = 6 * rise - 3 * d0 - 3 * d1 - 0.5 * s0 + 0.5 * s1
    value = f0 + t * (d0 + t * (s0 / 2 + t * (c3 + t * (c4 + t * c5))))
    slope = (d0 + t * (s0 + t * (3 * c3 + t * (4 * c4 + t * 5 * c5)))) / STEP
    ratio = HIGHEST / temperature - 1  # (b - b0) / b0, below 0 above the highest temperature
    first, second = d0 / STEP, s0 / STEP ** 2 - d0 / STEP  # b0 dg/db and b0^2 d^2g/db^2 at the first node
    above = temperature > HIGHEST
    return (
        np.where(above, f0 + ratio * (first + ratio * second / 2), value),
        np.where(above, (1 + ratio) * (first + ratio * second), slope),
    )
