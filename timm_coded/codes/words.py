"""Sets of words in three forms: rows of zeros and ones, lists of active subNNs, integers with bit n for subNN n."""
from typing import Iterable

import numpy as np
from numpy.typing import ArrayLike


def rows_from_masks(masks: ArrayLike, num_subnns: int) -> np.ndarray:
    """Words given as integers, bit n for subNN n, as rows.

    Args:
        masks: M integers below 2^num_subnns.

    Returns:
        [M, num_subnns] uint8.
    """
    masks = np.asarray(masks, dtype=np.uint64)
    return (masks[:, None] >> np.arange(num_subnns, dtype=np.uint64) & np.uint64(1)).astype(np.uint8)


def rows_from_supports(supports: ArrayLike, num_subnns: int) -> np.ndarray:
    """Words given as lists of active subNNs, as rows.

    Args:
        supports: [M, num_active] integers below num_subnns.

    Returns:
        [M, num_subnns] uint8.
    """
    supports = np.asarray(supports)
    rows = np.zeros((len(supports), num_subnns), dtype=np.uint8)
    rows[np.arange(len(supports))[:, None], supports] = 1
    return rows


def masks_by_weight(num_subnns: int, max_weight: int) -> list[np.ndarray]:
    """All integers of N bits, 64 at most, by their number of ones, 0 to `max_weight`: each [C(N, weight)] uint64."""
    by_weight = [np.zeros(1, dtype=np.uint64)]  # of the bits so far, those of weight 0, 1, ...
    for bit in range(num_subnns):
        one, none = np.uint64(1 << bit), np.zeros(0, dtype=np.uint64)
        by_weight = [np.concatenate([without, with_it | one]) for without, with_it in zip(
            by_weight + [none], [none] + by_weight)][:max_weight + 1]
    return by_weight


def span(basis: Iterable[int]) -> np.ndarray:
    """All sums (XOR) of the vectors, [2^dimension] uint64, zero first."""
    elements = np.zeros(1, dtype=np.uint64)
    for vector in basis:
        elements = np.concatenate([elements, elements ^ np.uint64(vector)])
    return elements


def popcount(values: np.ndarray) -> np.ndarray:
    """The number of ones of each integer of an array of uint32 or uint64, as uint8 of the same shape."""
    if hasattr(np, 'bitwise_count'):  # NumPy 2
        return np.bitwise_count(values)
    kind = values.dtype.type
    ones = _ONES_OF_16_BITS[values & kind(0xffff)]
    for start in range(16, 8 * values.itemsize, 16):
        ones = ones + _ONES_OF_16_BITS[values >> kind(start) & kind(0xffff)]
    return ones


_ONES_OF_16_BITS = np.array([bin(value).count('1') for value in range(2 ** 16)], dtype=np.uint8)
