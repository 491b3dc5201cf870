"""The bounds hold: against published tables, exhaustive search, and the claims made for the schemes of this package."""
from itertools import combinations
from math import comb

import pytest

from timm_coded.codes import distance_bound, johnson_bound
from timm_coded.codes.bounds import counting_bound, packing_bound

# Exact values of A(n, d, w): Brouwer, Shearer, Sloane & Smith, A new table of constant weight codes (1990).
EXACT = {
    (7, 4, 3): 7, (8, 4, 4): 14, (9, 4, 3): 12, (9, 4, 4): 18, (10, 4, 3): 13, (10, 4, 4): 30, (10, 4, 5): 36,
    (10, 6, 3): 3, (10, 6, 5): 6, (11, 6, 5): 11, (12, 4, 6): 132, (12, 6, 4): 9, (12, 6, 5): 12, (12, 6, 6): 22,
    (13, 6, 4): 13, (13, 6, 5): 18, (16, 6, 4): 20, (16, 6, 6): 112, (16, 8, 8): 30, (20, 8, 8): 130, (21, 8, 8): 210,
    (22, 8, 6): 77, (22, 8, 8): 330, (23, 8, 7): 253, (23, 8, 8): 506, (24, 8, 8): 759, (24, 8, 12): 2576,
}
# Those of them where Johnson's bound is met: Steiner systems and Hadamard matrices.
MET = [
    (7, 4, 3), (8, 4, 4), (9, 4, 3), (10, 4, 3), (10, 4, 4), (10, 4, 5), (10, 6, 3), (10, 6, 5), (11, 6, 5), (12, 4, 6),
    (13, 6, 4), (16, 6, 4), (16, 6, 6), (16, 8, 8), (22, 8, 6), (23, 8, 7), (23, 8, 8), (24, 8, 8),
]


def largest_code(length: int, distance: int, weight: int) -> int:
    """A(n, d, w) by trying everything."""
    words = [frozenset(word) for word in combinations(range(length), weight)]

    def grow(size: int, candidates: list) -> int:
        best = size
        for i, word in enumerate(candidates):
            if size + len(candidates) - i <= best:
                break
            best = max(best, grow(size + 1, [c for c in candidates[i + 1:] if len(c ^ word) >= distance]))
        return best

    # Some word may be taken to be the first one, by symmetry.
    return grow(1, [c for c in words[1:] if len(c ^ words[0]) >= distance])


@pytest.mark.parametrize('sizes', EXACT)
def test_bound_is_not_below_published_value(sizes):
    assert johnson_bound(*sizes).size >= EXACT[sizes]


@pytest.mark.parametrize('sizes', MET)
def test_bound_meets_published_value(sizes):
    assert johnson_bound(*sizes).size == EXACT[sizes]


@pytest.mark.parametrize('length', range(1, 8))
def test_bound_is_not_below_exhaustive_search(length):
    for weight in range(length + 1):
        for distance in range(2, 2 * weight + 3, 2):
            if (length, distance) == (7, 2):
                continue  # all words, C(7, w): checked below
            exact = largest_code(length, distance, weight)
            assert johnson_bound(length, distance, weight).size >= exact
            counted = counting_bound(length, distance, weight)
            assert counted is None or counted >= exact
            assert packing_bound(length, distance, weight) >= exact


def test_distance_two_allows_all_words_and_no_more():
    for length in range(1, 9):
        for weight in range(1, length):
            assert johnson_bound(length, 2, weight).size == comb(length, weight)


def test_odd_distances_count_as_the_even_ones_above():
    assert johnson_bound(20, 7, 8) == johnson_bound(20, 8, 8)


def test_complements_have_the_same_bound():
    assert johnson_bound(32, 8, 24).size == johnson_bound(32, 8, 8).size


# As in the table of schemes: no scheme of these sizes has a larger minimum distance.
@pytest.mark.parametrize('num_classes, num_subnns, num_active, distance, at_most', [
    (10, 10, 5, 4, 6), (10, 10, 3, 4, 3), (100, 20, 8, 8, 20), (100, 20, 4, 4, 30),
    (1000, 32, 16, 12, 582), (1000, 32, 8, 8, 436),
])
def test_distances_claimed_optimal_are(num_classes, num_subnns, num_active, distance, at_most):
    bound = distance_bound(num_classes, num_subnns, num_active)
    assert bound.distance == distance
    assert f'A({num_subnns},{distance + 2},{num_active}) <= {at_most} < {num_classes}' in bound.proof
    assert bound.proof.split(', ')[1].split()[0] in ('Johnson', 'counting', 'disjoint')


def test_counting_bound_is_the_hand_worked_one():
    # Seven words of weight 5 and length 10 make 35 = 3 * 10 + 5 ones: 5 columns of three and 5 of four share
    # 5 * 3 + 5 * 6 = 45 pairs, but 21 pairs of words that share two at most have 42. Six words share 30 of 30.
    assert counting_bound(10, 6, 5) == 6
    assert counting_bound(10, 4, 5) is None


def test_one_class_has_no_distance():
    assert distance_bound(1, 10, 5).distance == 0


def test_long_words_get_an_answer():
    assert distance_bound(1000, 512, 128).distance <= 2 * 128
    assert distance_bound(10, 2000, 1000).distance <= 2000


@pytest.mark.parametrize('sizes', [(5, 2, 6), (5, 0, 2), (5, 2, -1)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match='needs 0 <= weight <= length'):
        johnson_bound(*sizes)


def test_more_classes_than_words_are_refused():
    with pytest.raises(ValueError, match=r'only C\(5, 2\) = 10 distinct words'):
        distance_bound(11, 5, 2)


def test_packing_balls_is_the_lower_bound_where_johnsons_are_weak():
    assert packing_bound(24, 6, 12) == comb(24, 12) // (1 + 12 * 12)
    assert packing_bound(24, 10, 12) == comb(24, 12) // (1 + 12 * 12 + 66 * 66)
    assert packing_bound(24, 4, 12) == comb(24, 12)  # balls of one word
    assert johnson_bound(24, 6, 12) == (18649, 'packing balls')
