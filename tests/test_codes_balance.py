"""How evenly words use the subNNs, and the orders that keep them even."""
import numpy as np
import pytest

from timm_coded.codes.balance import balanced_order, balanced_words, even_prefix, is_even, mixed_order
from timm_coded.codes.graham_sloane import all_supports, num_apart
from timm_coded.codes.orbits import all_orbits, greedy_union
from timm_coded.codes.words import masks_by_weight, rows_from_supports


def test_balanced_order_is_a_permutation_whose_beginning_does_not_depend_on_its_length():
    words = rows_from_supports(all_supports(9, 4), 9)
    order = balanced_order(words)
    assert sorted(order) == list(range(126))
    assert np.array_equal(balanced_order(words, 50), order[:50])
    assert sorted(balanced_order(words, window=5)) == list(range(126))


@pytest.mark.parametrize('size', [1, 2, 3, 10, 1000])
def test_mixed_order_is_a_permutation(size):
    order = mixed_order(size)
    assert sorted(order) == list(range(size))
    assert size < 1000 or np.abs(np.diff(order)).min() > 300  # neighbours come far apart


def test_balanced_words_are_the_words_and_shorter_ones_a_beginning():
    masks = masks_by_weight(12, 5)[5]
    words = balanced_words(masks, 12, len(masks), window=200)
    assert sorted((words << np.arange(12)).sum(axis=1).tolist()) == sorted(masks.tolist())
    assert np.array_equal(balanced_words(masks, 12, 100, window=200), words[:100])
    sums = np.cumsum(words, axis=0, dtype=int)
    assert np.ptp(sums, axis=1).max() <= 3


def test_even_is_within_2_or_a_tenth():
    sums = np.array([[1, 3, 2], [1, 4, 2], [95, 105, 100], [94, 105, 100]])
    assert is_even(sums).tolist() == [True, False, True, False]
    assert is_even(np.array([0, 4]), least=4) and not is_even(np.array([0, 5]), least=4)


def test_even_prefix_ends_before_the_first_uneven_word():
    words = np.array([[1, 0]] * 4 + [[0, 1]] * 4 + [[1, 0]] * 4)
    assert even_prefix(words) == 12  # 4 to 0 is within 4, 8 to 4 too
    assert even_prefix(np.array([[1, 0]] * 9)) == 4
    # orbits that leave subNN 0 where it is use it too seldom
    union = balanced_words(greedy_union(all_orbits(masks_by_weight(14, 5)[5], (1, 13)), 6), 14, 13)
    assert len(union) == 13 and even_prefix(union) == 4


def test_num_apart():
    words = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0]])
    assert [num_apart(words, distance) for distance in (2, 4)] == [4, 3]
