"""Lines 11 to 16 of the paper's Algorithm 1: the greedy set G of words, in the order of the integers they spell.

Each word that is at distance H_min or more from all words taken before it is taken. Instead of comparing word by word,
the words that a new member excludes are struck off a table of all words: a word is split into its first and its second
half, and the words near another one are, for each first half, those whose second half is near enough for what is left.
"""
from math import comb
from typing import Callable

import numpy as np

from .words import masks_by_weight, popcount

# Largest C(N, N_act) whose words are all gone through: one byte each. C(32, 16) is 601 million.
TABLE_LIMIT = 700_000_000


def can_tabulate(num_subnns: int, num_active: int) -> bool:
    """Whether `lexicode` can go through all words of this length and weight."""
    return num_subnns <= 64 and comb(num_subnns, num_active) <= TABLE_LIMIT


def lexicode(
        num_subnns: int,
        num_active: int,
        min_distance: int,
        mask: int = 0,
        report: Callable[[float, int], None] = lambda done, size: None,
) -> np.ndarray:
    """The set G of Algorithm 1: the lexicographic code of constant weight.

    Args:
        num_subnns: N, at most 64.
        num_active: N_act.
        min_distance: H_min.
        mask: Words are gone through in the order of the integers that they spell, XOR this one; 0 is the paper's order.
        report: Called now and then with the part of the list that is done, 0 to 1, and the size of G so far.

    Returns:
        [|G|, num_subnns] uint8, in the order in which they were found.
    """
    table = _WordTable(num_subnns, num_active, mask)
    members = []
    position = table.next_free(0)
    while position < table.size:
        members.append(table.word(position))
        table.strike_near(position, min_distance)
        position = table.next_free(position + 1)
        if len(members) % 16 == 0:
            report(position / table.size, len(members))
    words = np.array(members, dtype=np.uint64) ^ np.uint64(mask)
    return (words[:, None] >> np.arange(num_subnns - 1, -1, -1, dtype=np.uint64) & np.uint64(1)).astype(np.uint8)


class _WordTable:
    """All words of one length and weight in ascending order, XOR a mask, and which of them are struck off."""

    def __init__(self, num_subnns: int, num_active: int, mask: int):
        self.low_bits = num_subnns // 2
        # Halves by weight, each group ascending. They stand XOR the mask throughout, which leaves distances alone.
        highs = _halves_by_weight(num_subnns - self.low_bits, num_active, mask >> self.low_bits)
        lows = _halves_by_weight(self.low_bits, num_active, mask & (1 << self.low_bits) - 1)
        empty = np.zeros(0, dtype=np.uint32)
        # For a first half of weight a, the second halves that complete it.
        self.completions = [lows[num_active - a] if num_active - a < len(lows) else empty for a in range(len(highs))]
        # First halves in ascending order; the words that begin with number i end before place ends[i] of the table.
        weights = np.repeat(np.arange(len(highs)), [len(group) for group in highs])
        halves = np.concatenate(highs)
        order = np.argsort(halves)
        self.halves, self.weights = halves[order], weights[order]
        counts = np.array([len(group) for group in self.completions])[self.weights]
        self.ends = np.cumsum(counts)
        self.starts = self.ends - counts
        # The same by weight, for whole groups to be struck off at once.
        self.groups = [np.flatnonzero(self.weights == a) for a in range(len(highs))]
        self.struck = np.zeros(int(self.ends[-1]), dtype=bool)
        self.size = len(self.struck)

    def _split(self, position: int) -> tuple[int, np.uint32]:
        """The number of the first half, and the second half, of the word at a place of the table."""
        number = int(np.searchsorted(self.ends, position, side='right'))
        return number, self.completions[self.weights[number]][position - self.starts[number]]

    def word(self, position: int) -> int:
        """The word at a place of the table, XOR the mask."""
        number, low = self._split(position)
        return int(self.halves[number]) << self.low_bits | int(low)

    def strike_near(self, position: int, min_distance: int) -> None:
        """Strikes off the words from this place on that are nearer than `min_distance` to the word there."""
        number, low = self._split(position)
        for a, (group, completions) in enumerate(zip(self.groups, self.completions)):
            group = group[np.searchsorted(group, number):]
            high_distances = popcount(self.halves[group] ^ self.halves[number])
            low_distances = popcount(completions ^ low)
            for distance in range(abs(a - int(self.weights[number])), min_distance, 2):
                starts = self.starts[group[high_distances == distance]]
                near = np.flatnonzero(low_distances < min_distance - distance)
                if len(starts) and len(near):
                    self.struck[starts[:, None] + near] = True

    def next_free(self, position: int) -> int:
        """The first place from `position` on that is not struck off, or `size`."""
        step = 1 << 10  # the next one is mostly near; if not, look further at a time
        while position < self.size:
            window = self.struck[position:position + step]
            first = int(window.argmin())
            if not window[first]:
                return position + first
            position += len(window)
            step = 1 << 20
        return self.size


def _halves_by_weight(bits: int, max_weight: int, mask: int) -> list[np.ndarray]:
    """The integers of `bits` bits with 0 to `max_weight` ones, XOR a mask: one ascending uint32 array per weight."""
    return [np.sort(group.astype(np.uint32) ^ np.uint32(mask)) for group in masks_by_weight(bits, max_weight)]
