"""Coding schemes of up to 64 subNNs: the words of one weight in a coset of a binary linear code.

Two words of a coset differ by a word of the code, so that they are as far apart as the code's minimum distance says.
The codes are the extended Golay code, and the words a + Tr(b x + c x^3 + d x^5 + ...) over GF(2^m), duals of extended
BCH codes (MacWilliams & Sloane, Chapters 2 and 9), both shortened: of their words those are left that are zero outside
the first N positions. Their distances are counted, not quoted.
"""
from functools import cache
from itertools import islice
from typing import Iterator, NamedTuple

import numpy as np

from .balance import is_even
from .gf2m import binary_field
from .words import popcount, rows_from_masks, span

# Codes of up to 2^21 words, which are gone through in a tenth of a second, and so many words of cosets of a code.
MAX_DIMENSION = 21
MAX_COSET_WORDS = 2 ** 23
GOLAY_POLYNOMIAL = 0b101011100011  # x^11 + x^9 + x^7 + x^6 + x^5 + x + 1, a factor of x^23 + 1


class LinearCode(NamedTuple):
    """A binary linear code whose words have even weight.

    Attributes:
        name: What it is.
        distance: Its minimum distance.
        basis: Words that span it, bit n for position n.
    """

    name: str
    distance: int
    basis: tuple[int, ...]


@cache
def linear_codes(length: int) -> tuple[LinearCode, ...]:
    """The codes of this length, 2 to 64, of up to 2^21 words that have a minimum distance of 6 at least."""
    by_distance: dict[int, LinearCode] = {}
    dimension = 0
    for name, generators in trace_codes(length):
        basis = shortened(generators, length)
        if len(basis) > MAX_DIMENSION:
            break
        if len(basis) > dimension:  # each code holds those of fewer powers of x
            dimension, distance = len(basis), minimum_distance(basis)
            if distance < 6:
                break
            by_distance[distance] = LinearCode(name, distance, basis)
    golay = (golay_code(length),) if 12 < length <= 24 else ()
    return golay + tuple(by_distance.values())


def golay_code(length: int) -> LinearCode:
    """The extended Golay code [24, 12, 8], shortened to 13 positions at least."""
    shifts = [GOLAY_POLYNOMIAL << places for places in range(12)]
    basis = shortened([word | (word.bit_count() % 2) << 23 for word in shifts], length)
    return LinearCode('extended Golay code', minimum_distance(basis), basis)


def trace_codes(length: int) -> Iterator[tuple[str, list[int]]]:
    """The names and the generators of codes of 2^m positions, 2^m >= `length`: one more power of x for each."""
    m = max(2, (length - 1).bit_length())
    field, x = binary_field(m), np.arange(2 ** m)
    generators = [2 ** 2 ** m - 1]
    for exponent in range(1, 2 ** (m - 1), 2):
        traces = [field.trace(field.multiply(1 << i, field.power(x, exponent))) for i in range(m)]
        generators = generators + [sum(1 << n for n in np.flatnonzero(row).tolist()) for row in traces]
        powers = ', '.join('x' if e == 1 else f'x^{e}' for e in range(1, exponent + 1, 2))
        yield f'code of the traces of {powers} over GF({2 ** m})', generators


def shortened(generators: list[int], length: int) -> tuple[int, ...]:
    """A basis of those words, of all that the generators span, that are zero outside the first `length` positions."""
    # no two vectors of an echelon basis end at the same position, so that none that ends later can be part of them
    return tuple(vector for vector in echelon(generators) if vector < 2 ** length)


def minimum_distance(basis: tuple[int, ...]) -> int:
    """The least weight of a word that is not zero."""
    return int(popcount(span(basis)[1:]).min())


def echelon(vectors: list[int]) -> list[int]:
    """A basis of what the vectors span, no two with the same highest bit."""
    by_highest: dict[int, int] = {}
    for vector in vectors:
        while vector and vector.bit_length() in by_highest:
            vector ^= by_highest[vector.bit_length()]
        if vector:
            by_highest[vector.bit_length()] = vector
    return [by_highest[highest] for highest in sorted(by_highest)]


def largest_coset(code: LinearCode, length: int, weight: int) -> np.ndarray:
    """The words of one weight in a coset of the code: of those tried the one that has most of them, evenly spread.

    Tried are the cosets of the sets of up to five of the positions 0, 1, 2, 4, 8, and of pseudo-random ones. Words
    that use some position much more often than another are no scheme (Rule B).

    Returns:
        [M] uint64.
    """
    words, largest = span(code.basis), np.zeros(0, dtype=np.uint64)
    for leader in leaders(length, weight % 2, MAX_COSET_WORDS // len(words)):
        coset = words ^ np.uint64(leader)
        coset = coset[popcount(coset) == weight]
        if len(coset) > len(largest) and is_even(rows_from_masks(coset, length).sum(axis=0, dtype=np.int64)):
            largest = coset
    return largest


def leaders(length: int, parity: int, count: int) -> list[int]:
    """Up to `count` sets of positions, 48 at most, of even or odd size, as the words of a code have even weight."""
    random = np.random.RandomState(0)  # whose numbers NumPy has promised never to change
    sets = [[0, 1, 2, 4, 8][:size] for size in range(parity, 6, 2)]
    while len(sets) < 48:
        size = parity + 2 * int(random.random_sample() * 6)
        sets.append(random.random_sample(length).argsort()[:size].tolist())
    fitting = (sum(1 << position for position in positions) for positions in sets if max(positions, default=0) < length)
    return list(islice(fitting, max(count, 3)))
