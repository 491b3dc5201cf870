"""Coding schemes from quadratic forms over GF(2): N = 2^m subNNs, half of them active.

The words are the values f(0), ..., f(2^m - 1) of Boolean functions of degree two at most which are 1 exactly half of
the time. With f comes 1 + f, its complement, so that the column sums of any prefix differ by at most one.
"""
from itertools import combinations

import numpy as np

from .gf2m import binary_field


def _half_weight_pairs(basis: np.ndarray, count: int) -> np.ndarray:
    """The first `count` words of half weight in the code spanned by `basis` and the all-one word, by complements.

    Args:
        basis: [dimension, N] uint8, words that are 0 at position 0.
        count: How many words are wanted.

    Returns:
        [count, N] uint8.
    """
    dimension, length = basis.shape
    found, num_found, chunk = [], 0, 2 ** 14
    for start in range(0, 2 ** dimension, chunk):
        messages = np.arange(start, min(start + chunk, 2 ** dimension))[:, None] >> np.arange(dimension) & 1
        words = (messages.astype(np.float32) @ basis.astype(np.float32)).astype(np.uint8) % 2
        found.append(words[words.sum(axis=1, dtype=np.int64) == length // 2])
        num_found += len(found[-1])
        if 2 * num_found >= count:
            break
    half = np.concatenate(found)[:-(-count // 2)]
    return np.stack([half, 1 - half], axis=1).reshape(-1, length)[:count]


def trace_words(m: int, count: int) -> np.ndarray:
    """Words a + Tr(b x) + Tr(c x^3) over GF(2^m) of half weight: from the dual of the double-error-correcting BCH code.

    Minimum distance 2^(m-1) - 2^floor(m/2), e.g. 12 for m = 5 and 24 for m = 6: Tr(b x + c x^3) is a quadratic form of
    rank m - 2 at least (MacWilliams & Sloane, Chapter 15, Section 4).

    Returns:
        [count, 2^m] uint8.
    """
    field = binary_field(m)
    x = np.arange(field.order)
    linear = [field.trace(field.multiply(1 << i, x)) for i in range(m)]
    cubic = [field.trace(field.multiply(1 << i, field.power(x, 3))) for i in range(m)]
    return _half_weight_pairs(np.array(linear + cubic), count)


def num_trace_words(m: int) -> int:
    """How many words `trace_words` has.

    For c = 0, all b but 0. For odd m, c != 0 gives rank m - 1, balanced for half of all b. For even m, a cube c gives
    rank m - 2, balanced for three quarters of all b, and any other c full rank, which is never balanced.
    """
    if m % 2:
        return 2 * (2 ** m - 1) * (1 + 2 ** (m - 1))
    return 2 * (2 ** m - 1) * (1 + 2 ** (m - 2))


def reed_muller_words(m: int, count: int) -> np.ndarray:
    """Words of half weight of the second-order Reed-Muller code RM(2, m), minimum distance 2^(m-2).

    Returns:
        [count, 2^m] uint8.
    """
    x = np.arange(2 ** m)
    linear = [x >> i & 1 for i in range(m)]
    return _half_weight_pairs(np.array(linear + [a & b for a, b in combinations(linear, 2)]), count)


def num_reed_muller_words(m: int) -> int:
    """How many words `reed_muller_words` has (MacWilliams & Sloane, Chapter 15, Theorem 8)."""
    others = 2  # all zeros, all ones
    for h in range(1, m // 2 + 1):
        numerator, denominator = 2 ** (h * (h + 1)), 1
        for i in range(2 * h):
            numerator *= 2 ** (m - i) - 1
        for i in range(1, h + 1):
            denominator *= 2 ** (2 * i) - 1
        others += 2 * (numerator // denominator)
    return 2 ** (1 + m + m * (m - 1) // 2) - others
