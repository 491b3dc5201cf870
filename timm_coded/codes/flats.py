"""Coding schemes from the flats of the affine space GF(2)^m: N = 2^m subNNs, N_act = 2^k.

A k-flat is a translate of a k-dimensional subspace; its indicator is a word of weight 2^k, and the 2^(m-k) translates
of one subspace share out the N subNNs exactly. Words come translate after translate, so that the column sums of any
prefix differ by at most one. These are the least-weight words of Reed-Muller codes (MacWilliams & Sloane, Chapter 13).
"""
from itertools import combinations, islice, product
from typing import Iterator

import numpy as np

from .gf2m import binary_field
from .words import rows_from_supports, span


def num_flats(m: int, k: int) -> int:
    """How many words `flat_words` has: 2^(m-k) translates of each subspace, counted by the Gaussian binomial."""
    numerator = denominator = 1
    for i in range(k):
        numerator *= 2 ** (m - i) - 1
        denominator *= 2 ** (i + 1) - 1
    return 2 ** (m - k) * numerator // denominator


def subspaces(m: int, k: int) -> Iterator[list[int]]:
    """The elements of every k-dimensional subspace of GF(2)^m, one after the other, by reduced echelon bases."""
    for pivots in combinations(range(m), k):
        free = [[bit for bit in range(pivot) if bit not in pivots] for pivot in pivots]
        choices = [[sum(1 << bit for bit in chosen) for r in range(len(bits) + 1) for chosen in combinations(bits, r)]
                   for bits in free]
        for low in product(*choices):
            yield span([1 << pivot | bits for pivot, bits in zip(pivots, low)]).tolist()


def translates(subspace: list[int], m: int) -> list[list[int]]:
    """The flats parallel to a subspace: they share out the 2^m points."""
    seen, flats = set(), []
    for point in range(2 ** m):
        if point not in seen:
            flats.append([point ^ element for element in subspace])
            seen.update(flats[-1])
    return flats


def flat_words(m: int, k: int, count: int) -> np.ndarray:
    """The first `count` k-flats of GF(2)^m, minimum distance 2^k.

    Two different k-flats share at most 2^(k-1) points, hence 2 (2^k - 2^(k-1)) = 2^k.

    Returns:
        [count, 2^m] uint8.
    """
    num_subspaces = -(-count // 2 ** (m - k))
    flats = [flat for subspace in islice(subspaces(m, k), num_subspaces) for flat in translates(subspace, m)]
    return rows_from_supports(flats[:count], 2 ** m)


def num_spread_words(m: int, k: int) -> int:
    """How many words `spread_words` has."""
    return (2 ** max(k, m - k) + 1) * 2 ** (m - k)


def spread_words(m: int, k: int, count: int) -> np.ndarray:
    """Flats of a partial spread, minimum distance 2 (2^k - 2^max(0, 2k-m)).

    For 2k <= m: the subspaces {(x, a x)} for a in GF(2^(m-k)), x in k dimensions of it, and {(0, x)}, share nothing
    but zero. For 2k > m: their orthogonal complements, any two of which span everything and so share 2k - m
    dimensions. For m = 2k it is the Desarguesian spread.

    Returns:
        [count, 2^m] uint8.
    """
    low = min(k, m - k)
    field = binary_field(m - low)
    points = np.arange(2 ** low)
    lines = [points | field.multiply(points, a) << low for a in range(field.order)] + [points << low]
    if 2 * k > m:
        everything = np.arange(2 ** m)
        parity = np.array([bin(value).count('1') % 2 for value in range(2 ** m)])
        lines = [everything[~parity[everything[:, None] & line].any(axis=1)] for line in lines]
    flats = [flat for line in lines for flat in translates(line.tolist(), m)]
    return rows_from_supports(flats[:count], 2 ** m)
