"""Unions of orbits: closed under their rotations, as far apart as asked for, and all that Algorithm 1 would take."""
import numpy as np
import pytest

from timm_coded.codes.orbits import all_orbits, can_list, divisions, greedy_union, rotations
from timm_coded.codes.words import masks_by_weight


def rotated(word: int, fields: tuple[int, ...], places: int) -> int:
    """The word with the ones of each field moved up by so many places, one by one."""
    image, start = 0, 0
    for width in fields:
        for n in range(width):
            image |= (word >> start + n & 1) << start + (n + places) % width
        start += width
    return image


def distance(a: int, b: int) -> int:
    return bin(a ^ b).count('1')


def test_ways_to_divide():
    assert divisions(6) == [(6,), (1, 5), (3, 3)]
    assert divisions(7) == [(7,), (1, 6)]
    assert divisions(2) == [(2,), (1, 1)]
    assert divisions(1) == [(1,)]


@pytest.mark.parametrize('fields', [(8,), (1, 7), (4, 4), (64,), (32, 32), (1, 63)])
def test_rotations(fields):
    words = np.random.default_rng(0).integers(2 ** min(sum(fields), 63), size=20, dtype=np.uint64)
    for places, images in enumerate(rotations(words, fields)):
        assert images.tolist() == [rotated(word, fields, places) for word in words.tolist()]
    assert places == fields[-1] - 1


@pytest.mark.parametrize('num_subnns, num_active', [(6, 3), (7, 2), (8, 4), (9, 1), (10, 5), (4, 4)])
def test_every_word_is_in_one_orbit(num_subnns, num_active):
    masks = masks_by_weight(num_subnns, num_active)[num_active]
    for fields in divisions(num_subnns):
        orbits = [set(orbit) for orbit in all_orbits(masks, fields).tolist()]
        assert sum(map(len, orbits)) == len(set.union(*orbits))
        assert set.union(*orbits) == set(masks.tolist())


@pytest.mark.parametrize('num_subnns, num_active, least', [(9, 4, 4), (10, 5, 6), (12, 6, 6), (13, 4, 6), (12, 4, 8)])
def test_union_is_that_of_algorithm_1_over_orbits(num_subnns, num_active, least):
    for fields in divisions(num_subnns):
        orbits = all_orbits(masks_by_weight(num_subnns, num_active)[num_active], fields)
        expected: list[int] = []
        for orbit in orbits.tolist():
            words = list(dict.fromkeys(orbit))
            everything = expected + words
            if all(distance(a, b) >= least for a in words for b in everything if a != b):
                expected = everything
        assert greedy_union(orbits, least).tolist() == expected


def test_nothing_where_no_orbit_keeps_the_distance():
    union = greedy_union(all_orbits(masks_by_weight(7, 3)[3], (7,)), 6)
    assert union.dtype == np.uint64 and union.tolist() == []


def test_which_words_are_listed():
    assert can_list(32, 7) and can_list(64, 4)
    assert not can_list(32, 8) and not can_list(65, 2)
