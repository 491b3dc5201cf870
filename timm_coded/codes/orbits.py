"""Coding schemes for any N and N_act whose words are few enough to be listed: unions of orbits under rotations.

The subNNs are divided into one or two fields: all N, or all but the first, or two halves; they are rotated within each
by the same number of places. The orbit of a word, all its rotations, uses the subNNs of a field equally often. Orbit
after orbit is taken if its words keep the distance from each other and from those taken before: Algorithm 1 of the
paper, with orbits in the place of words. For most sizes it has more words than `graham_sloane`, and is as quick.
"""
from math import comb
from typing import Iterator

import numpy as np

from .words import popcount

# Words that may be gone through without making the user wait.
LIST_LIMIT = 4_000_000


def can_list(num_subnns: int, num_active: int) -> bool:
    """Whether all C(N, N_act) words are few enough to be gone through."""
    return num_subnns <= 64 and comb(num_subnns, num_active) <= LIST_LIMIT


def divisions(num_subnns: int) -> list[tuple[int, ...]]:
    """The widths of the fields within which subNNs are rotated, for each way to divide them."""
    ways: list[tuple[int, ...]] = [(num_subnns,)]
    if num_subnns > 2:
        ways.append((1, num_subnns - 1))
    if num_subnns % 2 == 0:
        ways.append((num_subnns // 2, num_subnns // 2))
    return ways


def rotations(masks: np.ndarray, fields: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The words rotated by 0, 1, ... places, fewer than the last field is wide: [M] uint64 each.

    Args:
        masks: [M] uint64.
        fields: Their widths, from the lowest bits on.
    """
    for places in range(fields[-1]):
        rotated, start = np.zeros_like(masks), 0
        for width in fields:
            part = masks >> np.uint64(start) & np.uint64(2 ** width - 1)
            up = places % width
            part = (part << np.uint64(up) | part >> np.uint64(width - up)) & np.uint64(2 ** width - 1)
            rotated |= part << np.uint64(start)
            start += width
        yield rotated


def all_orbits(masks: np.ndarray, fields: tuple[int, ...]) -> np.ndarray:
    """The orbits of all words of one weight, [M] uint64, each once.

    Returns:
        [orbits, width of the last field] uint64: the words of an orbit, the smallest first, some repeated.
    """
    last_field = masks >> np.uint64(sum(fields[:-1]))
    # the smallest word of an orbit has no zeros at the low end of its last field, which holds its highest bits
    masks = np.sort(masks[(last_field & np.uint64(1) == 1) | (last_field == 0)])
    smallest = masks.copy()
    for rotated in rotations(masks, fields):
        np.minimum(smallest, rotated, out=smallest)
    return np.stack(list(rotations(masks[smallest == masks], fields)), axis=1)


def greedy_union(orbits: np.ndarray, distance: int) -> np.ndarray:
    """The words [M] uint64 of the orbits that Algorithm 1 takes, orbit after orbit."""
    within = popcount(orbits ^ orbits[:, :1])
    orbits = orbits[((within == 0) | (within >= distance)).all(axis=1)]
    numbers, first_words = np.arange(len(orbits)), orbits[:, 0].copy()  # of those that are far enough from all taken
    taken = []
    while len(numbers):
        words = np.array(list(dict.fromkeys(orbits[numbers[0]].tolist())), dtype=np.uint64)
        taken.append(words)
        far = np.ones(len(numbers), dtype=bool)
        for word in words:  # orbits are as near to each other as the first word of one to any of the other
            far &= popcount(first_words ^ word) >= distance
        numbers, first_words = numbers[far], first_words[far]
    return np.concatenate(taken) if taken else np.zeros(0, dtype=np.uint64)
