"""source='optimal': of all constructions for (N, N_act), the one with the largest distance that holds K words.

Closed forms, and for sizes without one what is worked out from linear codes or orbits at once, without chance.
"""
from dataclasses import dataclass
from functools import cache, partial
from math import comb
from typing import Callable, Iterator

import numpy as np

from . import cosets, cyclic, flats, graham_sloane, octads, orbits, quadratic
from .balance import balanced_words, even_prefix
from .bounds import johnson_bound
from .words import masks_by_weight, rows_from_supports

# Of words that are composed one by one, so many are compared with each other: the first are further apart than all.
FIRST_WORDS = 256


@dataclass(frozen=True)
class Rung:
    """One construction for one (N, N_act).

    Attributes:
        distance: The minimum distance that all its words keep.
        capacity: How many words it has.
        name: What it is, in words.
        make: Gives the first `count` words, [count, N] uint8; a shorter list is the beginning of a longer one.
    """

    distance: int
    capacity: int
    name: str
    make: Callable[[int], np.ndarray]


def optimal_words(num_classes: int, num_subnns: int, num_active: int) -> tuple[np.ndarray, str]:
    """The words of the highest rung that holds `num_classes`, and its description.

    Words of more than half ones are the complements of those of weight N - N_act, at the same distances.

    Returns:
        [num_classes, num_subnns] uint8, and a line of text.

    Raises:
        ValueError: No construction here has so many words.
    """
    if num_active == num_subnns:
        return np.ones((1, num_subnns), dtype=np.uint8), 'the one word with all subNNs active'
    if 2 * num_active > num_subnns:
        words, name = optimal_words(num_classes, num_subnns, num_subnns - num_active)
        return 1 - words, f'complements of {name}'
    for rung in rungs(num_classes, num_subnns, num_active):
        if rung.capacity >= num_classes:
            capacity = rung.capacity if rung.capacity < 10 ** 9 else 'more than a billion'
            name = f'{rung.name}; distance {rung.distance} for up to {capacity} classes'
            return rung.make(num_classes), name
    raise ValueError(
        f'no construction for {num_classes} classes with {num_active} of {num_subnns} subNNs active: at most'
        f" {comb(num_subnns, num_active) // 4} classes; use more subNNs, or source='search'")


def rungs(num_classes: int, num_subnns: int, num_active: int) -> Iterator[Rung]:
    """The constructions for (N, N_act), N_act <= N / 2, by falling distance; at one distance, in order of preference.

    Those that are not for this very (N, N_act) are worked out as they are reached, and some are left out that have
    fewer than `num_classes` words.
    """
    named = sorted(_named_rungs(num_subnns, num_active), key=lambda rung: -rung.distance)
    families = list(_families(num_classes, num_subnns, num_active))
    for distance in range(2 * num_active, 0, -2):
        yield from (rung for rung in named if rung.distance == distance)
        if johnson_bound(num_subnns, distance, num_active).size >= num_classes:
            for family in families:
                yield from family(distance)


def _families(num_classes: int, num_subnns: int, num_active: int) -> Iterator[Callable[[int], Iterator[Rung]]]:
    """Functions that give the rungs of a distance, those preferred first; what all of them need is worked out once."""
    if orbits.can_list(num_subnns, num_active):
        masks = cache(lambda: masks_by_weight(num_subnns, num_active)[num_active])
        orbits_of = cache(lambda fields: orbits.all_orbits(masks(), fields))
        yield partial(_orbit_rungs, num_classes, num_subnns, num_active, orbits_of)
    if 2 <= num_subnns <= 64:
        yield partial(_coset_rungs, num_subnns, num_active)
    if graham_sloane.can_list(num_subnns, num_active):
        yield partial(_listed_rungs, num_subnns, cache(partial(graham_sloane.all_supports, num_subnns, num_active)))
    else:
        first_words = cache(partial(graham_sloane.composed_words, num_subnns, num_active, FIRST_WORDS, half_distance=2))
        yield partial(_composed_rungs, num_subnns, num_active, first_words)


def _orbit_rungs(
        num_classes: int,
        num_subnns: int,
        num_active: int,
        orbits_of: Callable[[tuple[int, ...]], np.ndarray],
        distance: int,
) -> Iterator[Rung]:
    """The unions of orbits that have `num_classes` words, one for each way to divide the subNNs.

    Only as many of their words count as use the subNNs evenly, and only where each subNN has a class to serve.
    """
    for fields in orbits.divisions(num_subnns) if distance > 4 else ():
        masks = orbits.greedy_union(orbits_of(fields), distance)
        if len(masks) >= num_classes:
            words = balanced_words(masks, num_subnns, len(masks))
            if words[:num_classes].any(axis=0).all() or num_classes * num_active < num_subnns:
                name = f'orbits under rotation of {" and ".join(map(str, fields))} subNNs, taken greedily'
                yield Rung(distance, even_prefix(words), name, partial(_first, words))


def _coset_rungs(num_subnns: int, num_active: int, distance: int) -> Iterator[Rung]:
    """The cosets of linear codes of this minimum distance."""
    for code in cosets.linear_codes(num_subnns):
        if code.distance == distance:
            masks = cosets.largest_coset(code, num_subnns, num_active)
            yield Rung(distance, len(masks), f'a coset of the {code.name}', partial(balanced_words, masks, num_subnns))


def _listed_rungs(num_subnns: int, supports: Callable[[], np.ndarray], distance: int) -> Iterator[Rung]:
    """Words with equal power sums, of all words."""
    words = graham_sloane.largest_class(supports(), num_subnns, distance // 2)
    yield Rung(
        distance, len(words), _power_sum_name(distance // 2), partial(graham_sloane.listed_words, words, num_subnns))


def _composed_rungs(
        num_subnns: int,
        num_active: int,
        first_words: Callable[[], np.ndarray],
        distance: int,
) -> Iterator[Rung]:
    """Words with equal sums composed one by one, the first of them further apart than 4; at distance 2 any words."""
    if distance > 4:
        apart = graham_sloane.num_apart(first_words(), distance)
        yield Rung(distance, apart, f'{_power_sum_name(2)}, the first of them', partial(_first, first_words()))
    else:
        capacity = comb(num_subnns, num_active) // (4 * num_subnns if distance == 4 else 4)
        yield Rung(
            distance, capacity, _power_sum_name(distance // 2),
            partial(graham_sloane.composed_words, num_subnns, num_active, half_distance=distance // 2))


def _power_sum_name(half_distance: int) -> str:
    names = {1: 'any words, balanced', 2: 'words of equal sum of positions modulo N (Graham and Sloane)'}
    return names.get(half_distance, f'words with {half_distance - 1} equal power sums of positions (Graham and Sloane)')


def _named_rungs(num_subnns: int, num_active: int) -> Iterator[Rung]:
    """The constructions for this very (N, N_act), those preferred at equal distance first."""
    yield Rung(
        2 * num_active, num_subnns // num_active, 'disjoint words',
        partial(_disjoint_words, num_subnns, num_active))
    if (num_subnns, num_active) == (32, 8):
        yield Rung(8, 1080, 'orbits of 13 blocks under x^(2^i) + b of GF(32)', octads.distance_8_words)
        yield Rung(6, 12400, 'orbits of 3 blocks under a x^(2^i) + b of GF(32)', octads.distance_6_words)
        yield Rung(4, 330460, 'weight-8 words of the extended Hamming code [32, 26, 4]', octads.hamming_words)
    if (num_subnns, num_active) == (20, 8):
        yield Rung(8, 130, 'octads of the Steiner system S(5, 8, 24) that miss 4 points', cyclic.steiner_words)
    for distance, multipliers, blocks in cyclic.BASE_BLOCKS.get((num_subnns, num_active), ()):
        words = cyclic.images_of_blocks(blocks, num_subnns, multipliers)
        maps = 'x + b' if multipliers == (1,) else 'a x + b'
        name = f'images of {len(blocks)} base block{"s" * (len(blocks) > 1)} under {maps} modulo {num_subnns}'
        yield Rung(distance, len(words), name, partial(_first, words))
    if (num_subnns, num_active) == (10, 5):
        yield Rung(6, 6, 'the 2-(6, 3, 2) design, transposed', cyclic.design_words)
    m, k = num_subnns.bit_length() - 1, num_active.bit_length() - 1
    if num_active >= 2 and (2 ** m, 2 ** k) == (num_subnns, num_active) and m <= 8:
        yield from _affine_rungs(m, k)


def _affine_rungs(m: int, k: int) -> Iterator[Rung]:
    """The constructions on GF(2)^m with N_act = 2^k."""
    if k < m - 1:  # hyperplanes all meet alike
        yield Rung(
            2 * (2 ** k - 2 ** max(0, 2 * k - m)), flats.num_spread_words(m, k),
            f'{k}-flats of GF(2)^{m} along a partial spread', partial(flats.spread_words, m, k))
    yield Rung(2 ** k, flats.num_flats(m, k), f'{k}-flats of GF(2)^{m}', partial(flats.flat_words, m, k))
    if k == m - 1 and m >= 5:
        yield Rung(
            2 ** (m - 1) - 2 ** (m // 2), quadratic.num_trace_words(m),
            f'balanced words a + Tr(bx) + Tr(cx^3) over GF({2 ** m})', partial(quadratic.trace_words, m))
    if k == m - 1 and m >= 4:
        yield Rung(
            2 ** (m - 2), quadratic.num_reed_muller_words(m), f'balanced words of the Reed-Muller code RM(2, {m})',
            partial(quadratic.reed_muller_words, m))


def _first(words: np.ndarray, count: int) -> np.ndarray:
    return words[:count]


def _disjoint_words(num_subnns: int, num_active: int, count: int) -> np.ndarray:
    """Word i has subNNs i N_act to (i + 1) N_act - 1."""
    return rows_from_supports(np.arange(count * num_active).reshape(count, num_active), num_subnns)
