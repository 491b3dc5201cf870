"""Linear codes and their cosets: known parameters and weights, and the distance counted word by word."""
import numpy as np
import pytest

from timm_coded.codes import cosets
from timm_coded.codes.cosets import LinearCode
from timm_coded.codes.words import popcount, rows_from_masks


def weights(code: LinearCode) -> dict[int, int]:
    values, counts = np.unique(popcount(cosets.span(code.basis)), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def parameters(length: int) -> list[tuple[int, int]]:
    """Dimension and distance of the codes of a length."""
    return [(len(code.basis), code.distance) for code in cosets.linear_codes(length)]


def test_codes_are_the_known_ones():
    assert parameters(24)[0] == (12, 8)  # Golay
    assert parameters(32) == [(6, 16), (11, 12), (16, 8), (21, 6)]  # first-order Reed-Muller, then extended BCH
    assert parameters(64) == [(7, 32), (13, 24), (19, 16)]
    assert parameters(16)[1:] == [(5, 8)]
    assert parameters(2) == parameters(5) == []


def test_weights_are_the_known_ones():
    golay = cosets.golay_code(24)
    assert weights(golay) == {0: 1, 8: 759, 12: 2576, 16: 759, 24: 1}  # MacWilliams & Sloane, Chapter 2
    self_dual = cosets.linear_codes(32)[2]
    assert weights(self_dual) == {0: 1, 8: 620, 12: 13888, 16: 36518, 20: 13888, 24: 620, 32: 1}  # Chapter 15


@pytest.mark.parametrize('length', [13, 17, 20, 23, 27, 31, 33, 40, 48, 63])
def test_shortened_codes_are_zero_outside_and_keep_their_distance(length):
    codes = cosets.linear_codes(length)
    assert codes
    for code in codes:
        words = cosets.span(code.basis)
        assert len(np.unique(words)) == 2 ** len(code.basis)
        assert not (words >> np.uint64(length)).any()
        assert code.distance == min(bin(word).count('1') for word in words[1:2 ** 17].tolist() if word) >= 6
        assert not (popcount(words) % 2).any()


def test_shortened_holds_all_words_that_are_zero_there():
    generators = [0b110110, 0b011011, 0b101001, 0b000111]
    everything = set(cosets.span(cosets.echelon(generators)).tolist())
    left = set(cosets.span(cosets.shortened(generators, 4)).tolist())
    assert left == {word for word in everything if word < 2 ** 4}


@pytest.mark.parametrize('length, dimension, weight, count', [
    (24, 12, 8, 759), (24, 12, 12, 2576), (24, 12, 9, 640), (32, 16, 12, 13888), (32, 16, 10, 2048), (32, 16, 11, 3934),
    (32, 11, 12, 496), (28, 12, 12, 1848), (31, 10, 15, 292),
])
def test_cosets_keep_the_distance_and_are_even(length, dimension, weight, count):
    code = next(code for code in cosets.linear_codes(length) if len(code.basis) == dimension)
    words = cosets.largest_coset(code, length, weight)
    assert len(words) == len(np.unique(words)) == count and (popcount(words) == weight).all()
    for i, word in enumerate(words[:500]):
        assert popcount(np.delete(words, i) ^ word).min() >= code.distance
    sums = rows_from_masks(words, length).sum(axis=0, dtype=int)
    assert sums.max() - sums.min() <= 0.1 * count * weight / length


def test_an_uneven_coset_is_not_taken():
    # the words of weight 11 of that coset are words of the code with position 0 less that position: none has it
    golay = cosets.golay_code(24)
    words = cosets.span(golay.basis) ^ np.uint64(1)
    words = words[popcount(words) == 11]
    assert len(words) == 1288 and not rows_from_masks(words, 24)[:, 0].any()
    taken = rows_from_masks(cosets.largest_coset(golay, 24, 11), 24)
    assert len(taken) == 1218 and np.ptp(taken.sum(axis=0, dtype=int)) <= 56
    assert len(cosets.largest_coset(golay, 24, 7)) == 0  # all of these are uneven


def test_no_words_where_no_coset_has_that_weight():
    code = cosets.linear_codes(64)[0]  # words of weight 32: a coset of a set of 11 at most has none of weight 16
    assert cosets.largest_coset(code, 64, 16).tolist() == []


def test_leaders():
    sets = cosets.leaders(20, 1, 100)
    assert sets[:3] == [0b1, 0b111, 0b100010111]  # of 0, 1, 2, 4, 8
    assert all(0 < leader < 2 ** 20 and bin(leader).count('1') % 2 for leader in sets)
    assert cosets.leaders(20, 1, 5) == sets[:5] and len(sets) == 48
