"""Upper bounds of A(n, d, w), the largest number of words of length n and weight w at distance d or more.

They tell how good a coding scheme of K classes, N subNNs and N_act active ones can be at all: if A(N, d, N_act) < K, no
scheme has minimum distance d. Sources: S. M. Johnson, A new upper bound for error-correcting codes (1962);
MacWilliams & Sloane, The Theory of Error-Correcting Codes, Chapter 17; Brouwer, Shearer, Sloane & Smith, A new table of
constant weight codes (1990).
"""
from functools import cache
from math import comb
from typing import NamedTuple

# The recursion goes through all shorter words; beyond this length it is left out, which makes the bound weaker.
MAX_RECURSIVE_LENGTH = 256


class DistanceBound(NamedTuple):
    """What `distance_bound` found.

    Attributes:
        distance: No scheme of this size has a larger minimum distance. 0 for a single class, which has no pair.
        proof: Why, in one line of text.
    """

    distance: int
    proof: str


class SizeBound(NamedTuple):
    """An upper bound of A(n, d, w) and the name of the bound that gives it."""

    size: int
    name: str


def counting_bound(length: int, distance: int, weight: int) -> int | None:
    """Johnson's restricted bound, by counting the pairs of words that share a position.

    M words with M w = k n + t, 0 <= t < n, share at least (n - t) k (k - 1) / 2 + t k (k + 1) / 2 positions in pairs
    (least when the column sums are as even as can be) and at most (w - d / 2) M (M - 1) / 2. The bound is the last M
    before the first that breaks this: if M words are impossible then so are more.

    Args:
        length: n.
        distance: d, even.
        weight: w.

    Returns:
        The bound, or None where the argument excludes no M: when w^2 / n <= w - d / 2.
    """
    shared = weight - distance // 2
    if weight * weight <= shared * length:
        return None
    size = 1
    while True:
        per_column, more = divmod((size + 1) * weight, length)
        least = (length - more) * per_column * (per_column - 1) + more * per_column * (per_column + 1)
        if least > shared * (size + 1) * size:
            return size
        size += 1


def packing_bound(length: int, distance: int, weight: int) -> int:
    """The bound by disjoint balls: the words at most t swaps of a one and a zero away from one of the code.

    A ball has sum over i <= t of C(w, i) C(n - w, i) words, and none in common with another if 4 t + 2 <= d.
    """
    radius = (distance - 2) // 4
    ball = sum(comb(weight, i) * comb(length - weight, i) for i in range(radius + 1))
    return comb(length, weight) // ball


@cache
def johnson_bound(length: int, distance: int, weight: int) -> SizeBound:
    """The best upper bound of A(n, d, w) that Johnson's bounds and `packing_bound` give.

    The unrestricted ones count the words with, or without, a given position:
    A(n, d, w) <= n / w A(n - 1, d, w - 1) and A(n, d, w) <= n / (n - w) A(n - 1, d, w), rounded down at every step.
    With them `counting_bound`, the trivial cases, and A(n, 2, w) = C(n, w).

    Args:
        length: n, at least 1.
        distance: d; an odd one counts as the even one above it, since words of equal weight are at even distances.
        weight: w, 0 to n.

    Returns:
        The bound and its name.

    Raises:
        ValueError: weight is not between 0 and length, or distance is below 1.
    """
    if not 0 <= weight <= length or distance < 1:
        raise ValueError(f'A({length}, {distance}, {weight}) needs 0 <= weight <= length and a distance of at least 1')
    distance += distance % 2
    weight = min(weight, length - weight)  # the complements are at the same distances
    if distance > 2 * weight:
        return SizeBound(1, 'two words differ in at most 2 N_act places')
    if distance == 2:
        return SizeBound(comb(length, weight), 'C(N, N_act) words in all')
    if distance == 2 * weight:
        return SizeBound(length // weight, 'disjoint words')
    counted = counting_bound(length, distance, weight)
    candidates = [] if counted is None else [SizeBound(counted, 'counting pairs (Johnson, restricted)')]
    if length <= MAX_RECURSIVE_LENGTH:
        candidates += [
            SizeBound(length * johnson_bound(length - 1, distance, weight - 1).size // weight, 'Johnson'),
            SizeBound(length * johnson_bound(length - 1, distance, weight).size // (length - weight), 'Johnson'),
        ]
    candidates.append(SizeBound(packing_bound(length, distance, weight), 'packing balls'))
    return min(candidates, key=lambda bound: bound.size)


def distance_bound(num_classes: int, num_subnns: int, num_active: int) -> DistanceBound:
    """The largest minimum distance that the bounds allow a scheme of K words.

    Args:
        num_classes: K.
        num_subnns: N.
        num_active: N_act.

    Returns:
        The distance d, for which the bounds allow K words, and the proof: the bound that excludes d + 2.

    Raises:
        ValueError: There are fewer than K words of this length and weight.
    """
    available = comb(num_subnns, num_active)
    if num_classes > available:
        raise ValueError(f'only C({num_subnns}, {num_active}) = {available} distinct words exist, not {num_classes}')
    if num_classes == 1:
        return DistanceBound(0, 'one class has no pair to compare')
    distance = 2 * min(num_active, num_subnns - num_active)
    while johnson_bound(num_subnns, distance, num_active).size < num_classes:
        distance -= 2
    excluded = johnson_bound(num_subnns, distance + 2, num_active)
    proof = f'A({num_subnns},{distance + 2},{num_active}) <= {excluded.size} < {num_classes}, {excluded.name}'
    return DistanceBound(distance, proof)
