"""Coding schemes in closed form for any N and N_act: words whose power sums are in one residue class.

R. L. Graham and N. J. A. Sloane, Lower bounds for constant weight codes, IEEE Trans. Inform. Theory 26 (1980): number
the positions 0 to N - 1. Two words at distance 2 differ by one position moved, so words with the same sum of positions
modulo N are at distance 4 or more. Likewise the words whose positions have the same sums of first to (e - 1)th powers
modulo a prime p >= N are at distance 2 e or more: the parts in which two closer words differ would have fewer than e
elements each and equal power sums, so equal elementary symmetric functions, so equal elements.
"""
from itertools import chain, combinations
from math import comb

import numpy as np

from .balance import balanced_order, mixed_order
from .words import rows_from_supports

# Numbers that may be listed at once (C(N, N_act) N_act of them) without making the user wait.
LIST_LIMIT = 8_000_000


def can_list(num_subnns: int, num_active: int) -> bool:
    """Whether all C(N, N_act) words are few enough to be listed."""
    return comb(num_subnns, num_active) * max(num_active, 1) <= LIST_LIMIT


def all_supports(num_subnns: int, num_active: int) -> np.ndarray:
    """All words as lists of active subNNs: [C(N, N_act), num_active] int16, in lexicographic order."""
    flat = chain.from_iterable(combinations(range(num_subnns), num_active))
    count = comb(num_subnns, num_active)
    return np.fromiter(flat, dtype=np.int16, count=count * num_active).reshape(count, num_active)


def largest_class(supports: np.ndarray, num_subnns: int, half_distance: int) -> np.ndarray:
    """The largest set of words whose positions agree in the first `half_distance` - 1 power sums.

    Args:
        supports: [M, num_active], all words.
        num_subnns: N.
        half_distance: e, at least 1; 1 keeps all words.

    Returns:
        [L, num_active], a set with minimum distance 2 e.
    """
    modulus = num_subnns if half_distance == 2 else _next_prime(num_subnns)
    residues = np.zeros(len(supports), dtype=np.int64)
    for exponent in range(1, half_distance):
        powers = np.array([pow(position, exponent, modulus) for position in range(num_subnns)])
        # Renumbered at every step, so that the numbers stay small however many power sums there are.
        _, residues = np.unique(residues * modulus + powers[supports].sum(axis=1) % modulus, return_inverse=True)
    return supports[residues == np.bincount(residues).argmax()]


def listed_words(supports: np.ndarray, num_subnns: int, count: int) -> np.ndarray:
    """The first `count` of the given words, in an order that keeps the column sums of any prefix close.

    Returns:
        [count, num_subnns] uint8.
    """
    mixed = rows_from_supports(supports[mixed_order(len(supports))], num_subnns)
    return mixed[balanced_order(mixed, count)]


def composed_words(num_subnns: int, num_active: int, count: int, half_distance: int) -> np.ndarray:
    """Words too many to list, composed one by one from the subNNs used least so far.

    For `half_distance` 2 one position is then moved so that the sum of positions is a multiple of N: minimum distance
    4. It draws on fixed pseudo-random numbers, and works as long as only a small part of all words is asked for.

    Args:
        num_subnns: N.
        num_active: N_act.
        count: At most a quarter of the words there are.
        half_distance: 1 or 2.

    Returns:
        [count, num_subnns] uint8.
    """
    # RandomState, because NumPy promises that its numbers will never change.
    random = np.random.RandomState(0)
    sums, positions = np.zeros(num_subnns), np.arange(num_subnns)
    words: dict[bytes, np.ndarray] = {}
    spread = 2.0
    while len(words) < count:
        cost = sums + spread * random.random_sample(num_subnns)
        word = np.zeros(num_subnns, dtype=np.uint8)
        word[np.argpartition(cost, num_active - 1)[:num_active]] = 1
        if half_distance == 2:
            shift = -int(positions @ word) % num_subnns
            gain = np.where(word > np.roll(word, -shift), cost - np.roll(cost, -shift), -np.inf)
            source = int(gain.argmax())
            if shift and not np.isfinite(gain[source]):
                spread *= 1.1
                continue  # the word is its own shift, no position of it can move that far
            word[source] -= shift != 0
            word[(source + shift) % num_subnns] += shift != 0
        if words.setdefault(word.tobytes(), word) is word:
            sums += word
            spread = 2.0
        else:
            spread *= 1.1  # all balanced continuations near here may be taken
    return np.array(list(words.values()))


def num_apart(words: np.ndarray, distance: int) -> int:
    """How many of the words [M, N], from the first on, are at least `distance`, 2 N_act at most, from each other."""
    rows = words.astype(np.float32)
    shared = np.tril(rows @ rows.T, -1).max(axis=1)  # of each word with those before it
    too_near = np.flatnonzero(2 * (rows[0].sum() - shared) < distance)
    return int(too_near[0]) if len(too_near) else len(words)


def _next_prime(number: int) -> int:
    """The smallest prime that is not below `number`."""
    number = max(number, 2)
    while any(number % divisor == 0 for divisor in range(2, int(number ** 0.5) + 1)):
        number += 1
    return number
