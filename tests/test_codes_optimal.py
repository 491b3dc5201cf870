"""source='optimal' keeps its promises of distance and balance, for every number of classes."""
import time
from math import comb

import numpy as np
import pytest

from timm_coded.codes import coding_scheme

# (N, N_act): for each construction up to how many classes, at which minimum distance, and how far apart the column sums
# of any prefix are at most.
LADDERS = {
    (10, 5): [(2, 10, 1), (6, 6, 2), (10, 4, 2), (30, 4, 2), (252, 2, 2)],
    (10, 3): [(3, 6, 1), (10, 4, 2), (12, 4, 2), (120, 2, 2)],
    (20, 8): [(2, 16, 1), (3, 12, 1), (5, 12, 1), (10, 10, 3), (130, 8, 4), (430, 6, 3), (6310, 4, 4)],
    (20, 4): [(5, 8, 1), (25, 6, 2), (100, 4, 2), (285, 4, 2), (4845, 2, 2)],
    (32, 16): [(2, 32, 1), (62, 16, 1), (1054, 12, 1), (36518, 8, 1)],
    (32, 8): [(4, 16, 1), (36, 12, 1), (1080, 8, 3), (12400, 6, 3), (21841, 4, 1)],
    (32, 24): [(4, 16, 1), (36, 12, 1), (1080, 8, 3), (12400, 6, 3), (21841, 4, 1)],
    (32, 4): [(8, 8, 1), (72, 6, 1), (1240, 4, 1), (35960, 2, 2)],
    (64, 32): [(2, 64, 1), (3, 36, 1), (5, 34, 2), (126, 32, 1), (2142, 24, 1), (21841, 16, 1)],
    (64, 16): [(4, 32, 1), (68, 24, 1), (2604, 16, 1)],
}
RUNGS = [
    (sizes, start + 1, *rung)
    for sizes, rungs in LADDERS.items()
    for start, rung in zip([1] + [rung[0] for rung in rungs], rungs)
]


def spread_of_prefixes(codewords: np.ndarray, shortest: int) -> int:
    """The largest difference of two column sums over all prefixes of at least `shortest` words."""
    sums = np.cumsum(codewords.astype(np.int64), axis=0)[shortest - 1:]
    return int((sums.max(axis=1) - sums.min(axis=1)).max())


def nearest(codewords: np.ndarray) -> int:
    """The minimum distance, by packing words into bytes and counting the ones of their XOR."""
    ones = np.array([bin(byte).count('1') for byte in range(256)], dtype=np.uint8)
    packed = np.packbits(codewords, axis=1)
    lowest = codewords.shape[1]
    for k in range(len(packed) - 1):
        lowest = min(lowest, int(ones[packed[k + 1:] ^ packed[k]].sum(axis=1).min()))
    return lowest


@pytest.mark.parametrize('sizes, distance, column_sum, closest_pairs', [
    ((1000, 32, 16), 12, 500, 121264), ((1000, 32, 8), 8, 250, 48640), ((100, 20, 8), 8, 40, 2886),
    ((100, 20, 4), 4, 20, 660), ((10, 10, 5), 4, 5, 10), ((10, 10, 3), 4, 3, 30),
])
def test_schemes_of_the_papers_models(sizes, distance, column_sum, closest_pairs):
    scheme = coding_scheme(*sizes)
    assert scheme.codewords.shape == sizes[:2] and scheme.num_active == sizes[2]
    assert scheme.column_sums.tolist() == [column_sum] * sizes[1]
    distances = (scheme.codewords[:, None] != scheme.codewords[None]).sum(axis=-1)[np.triu_indices(sizes[0], 1)]
    assert (distances.min(), (distances == distances.min()).sum()) == (distance, closest_pairs)
    assert (scheme.min_distance, scheme.closest_pairs) == (distance, closest_pairs)
    assert scheme.distance_bound.distance == distance  # no scheme has a larger one


@pytest.mark.parametrize('sizes, fewest, most, distance, spread', RUNGS)
def test_every_number_of_classes_is_served(sizes, fewest, most, distance, spread):
    longest = coding_scheme(most, *sizes)
    # The last number of classes for which this construction is used has just the distance promised.
    assert (nearest(longest.codewords) if most <= 7000 else longest.min_distance) == distance
    assert f'distance {distance} for up to' in longest.construction
    assert spread_of_prefixes(longest.codewords, fewest) <= spread
    # Fewer classes get a prefix, so all of the above holds for them too.
    for num_classes in {fewest, (fewest + most) // 2, most - 1}.intersection(range(fewest, most)):
        assert np.array_equal(coding_scheme(num_classes, *sizes).codewords, longest.codewords[:num_classes])


@pytest.mark.parametrize('num_classes, num_active, distance, allowed', [
    (11821, 16, 8, 10), (21841, 16, 8, 10), (11821, 8, 6, 6), (21841, 8, 4, 6),
])
def test_imagenet_12k_and_21k(num_classes, num_active, distance, allowed):
    scheme = coding_scheme(num_classes, 32, num_active)
    assert scheme.codewords.shape == (num_classes, 32)
    assert scheme.min_distance == distance and scheme.distance_bound.distance == allowed
    assert np.ptp(scheme.column_sums) <= 1
    text = scheme.describe()
    assert f'distance {distance} for up to' in text and f'the bounds allow at most {allowed}' in text
    rows = np.random.default_rng(0).choice(num_classes, 2000, replace=False)
    assert nearest(scheme.codewords[rows]) >= distance


@pytest.mark.parametrize('sizes', [
    (1000, 32, 16), (1000, 32, 8), (100, 20, 8), (17, 20, 8), (6310, 20, 8), (21841, 32, 16), (21841, 32, 8),
    (12400, 32, 8), (21841, 32, 4), (1000, 48, 12), (21841, 24, 12),
])
def test_answers_within_two_seconds(sizes):
    start = time.process_time()
    coding_scheme(*sizes)
    assert time.process_time() - start < 2


@pytest.mark.parametrize('num_subnns', range(1, 8))
def test_any_small_sizes_give_a_sound_scheme(num_subnns):
    for num_active in range(1, num_subnns + 1):
        for num_classes in range(1, comb(num_subnns, num_active) + 1):
            scheme = coding_scheme(num_classes, num_subnns, num_active)
            words = set(map(bytes, scheme.codewords))
            assert len(words) == num_classes and all(sum(word) == num_active for word in words)
            assert np.ptp(scheme.column_sums) <= 2
            assert scheme.min_distance <= scheme.distance_bound.distance
            if num_classes > 1:
                assert scheme.min_distance >= 2


@pytest.mark.parametrize('sizes', [
    (47, 16, 6), (100, 17, 13), (1000, 24, 12), (1000, 40, 10), (1000, 48, 36), (500, 30, 15), (1000, 128, 16),
    (300, 100, 50), (36519, 32, 16), (4950, 100, 2), (4951, 101, 99), (21841, 64, 8),
])
def test_other_sizes_have_a_construction_too(sizes):
    scheme = coding_scheme(*sizes)
    assert scheme.codewords.shape == sizes[:2] and scheme.num_active == sizes[2]
    assert spread_of_prefixes(scheme.codewords, 1) <= 4
    stated = int(scheme.construction.split('distance ')[1].split()[0])
    assert scheme.min_distance >= stated
    if len(scheme.codewords) <= 1000:
        assert nearest(scheme.codewords) == scheme.min_distance


@pytest.mark.parametrize('sizes, distance', [
    # the first of the words that are composed one by one, which are further apart than 4; N > 64 has no other
    ((33, 60, 29), 20), ((4, 46, 20), 24), ((13, 25, 11), 8), ((20, 100, 15), 18),
    # a linear code's words of other cosets than the first ones
    ((254, 60, 30), 16), ((22, 31, 16), 12), ((7, 28, 14), 12),
])
def test_few_classes_are_further_apart(sizes, distance):
    scheme = coding_scheme(*sizes)
    assert nearest(scheme.codewords) == distance == int(scheme.construction.split('distance ')[1].split()[0])


@pytest.mark.parametrize('sizes', [(4, 23, 11), (6, 23, 10), (7, 14, 4), (5, 26, 9), (3, 20, 8)])
def test_no_subnn_is_without_a_class(sizes):
    assert coding_scheme(*sizes).column_sums.min() >= 1


def test_a_union_of_orbits_ends_where_it_becomes_uneven():
    """The 64 words of 17 subNNs whose orbits leave subNN 0 where it is use it 7 times less than another."""
    assert coding_scheme(52, 17, 6).min_distance == 6
    uneven = coding_scheme(64, 17, 6)
    assert uneven.min_distance == 4 and np.ptp(uneven.column_sums) <= 2


def test_words_do_not_depend_on_what_was_asked_before():
    first = coding_scheme(500, 48, 12).codewords
    coding_scheme(5, 10, 3)
    assert np.array_equal(coding_scheme(500, 48, 12).codewords, first)


def test_all_subnns_active_leaves_one_word():
    assert coding_scheme(1, 4, 4).codewords.tolist() == [[1, 1, 1, 1]]
    with pytest.raises(ValueError, match=r'2 classes need .* only C\(4, 4\) = 1 have 4 of 4'):
        coding_scheme(2, 4, 4)


@pytest.mark.parametrize('sizes, message', [
    ((0, 10, 5), 'at least one class and one subNN'),
    ((-3, 10, 5), 'at least one class and one subNN'),
    ((5, 0, 0), 'at least one class and one subNN'),
    ((5, 10, 0), 'from 1 to 10'),
    ((5, 10, -1), 'from 1 to 10'),
    ((5, 10, 11), 'from 1 to 10'),
    ((253, 10, 5), r'only C\(10, 5\) = 252'),
    ((2_000_000, 24, 12), "no construction for 2000000 classes .* source='search'"),
])
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        coding_scheme(*sizes)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="unknown source 'best', expected one of 'optimal', 'paper', 'search'"):
        coding_scheme(10, 10, 5, source='best')
    with pytest.raises(ValueError, match="are for source='search'"):
        coding_scheme(10, 10, 5, seed=1)
    with pytest.raises(ValueError, match="are for source='search'"):
        coding_scheme(10, 10, 5, source='paper', min_distance=4)
    with pytest.raises(TypeError):
        coding_scheme(10.0, 10, 5)


def test_numpy_integers_are_taken():
    assert coding_scheme(np.int64(10), np.int32(10), np.uint8(5)).min_distance == 4


@pytest.mark.parametrize('sizes, distance', [
    # at the bound, all of them: no scheme has more
    ((20, 12, 6), 6), ((50, 16, 6), 6), ((100, 20, 6), 6), ((20, 20, 7), 8), ((38, 20, 10), 10), ((50, 20, 9), 8),
    ((50, 24, 6), 8), ((200, 24, 8), 8), ((1000, 24, 8), 6), ((46, 24, 12), 12), ((1000, 24, 12), 8),
    ((100, 32, 6), 8), ((1000, 32, 6), 6), ((1000, 32, 7), 6), ((100, 20, 14), 6), ((9000, 28, 10), 6),
])
def test_ratios_that_the_paper_has_not_reach_the_bound(sizes, distance):
    scheme = coding_scheme(*sizes)
    assert scheme.min_distance == distance == scheme.distance_bound.distance
    assert np.ptp(scheme.column_sums) <= max(4, 0.02 * scheme.column_sums.mean())


@pytest.mark.parametrize('sizes, distance', [
    ((1000, 32, 10), 8), ((1000, 32, 12), 8), ((496, 32, 12), 12), ((1000, 32, 14), 8), ((1000, 28, 14), 8),
    ((1000, 40, 20), 12), ((1000, 48, 24), 16), ((1000, 64, 24), 16), ((336, 64, 24), 24), ((1000, 64, 40), 16),
])
def test_too_many_words_to_list_are_taken_from_a_linear_code(sizes, distance):
    scheme = coding_scheme(*sizes)
    assert nearest(scheme.codewords) == distance
    assert spread_of_prefixes(scheme.codewords, 1) <= 5


@pytest.mark.slow
def test_where_algorithm_1_has_more():
    """docs/results.md: of 185 sizes it has more distance at four."""
    sizes = [
        (num_classes, num_subnns, num_active)
        for num_subnns, numbers_active in {
            8: (2, 3, 4), 10: (2, 3, 4, 5), 12: (3, 4, 6), 16: (3, 4, 5, 6, 8), 20: range(2, 11), 24: (4, 6, 8, 12),
            32: range(2, 9),
        }.items()
        for num_active in numbers_active for num_classes in (10, 20, 50, 100, 200, 1000)
        if num_classes <= comb(num_subnns, num_active)
    ]
    built = [coding_scheme(*size) for size in sizes]
    found = [coding_scheme(*size, source='search', progress=False) for size in sizes]
    bounds = [scheme.distance_bound.distance for scheme in built]
    ahead = {size: (a.min_distance, b.min_distance) for size, a, b in zip(sizes, built, found)}
    assert {size: pair for size, pair in ahead.items() if pair[0] < pair[1]} == {
        (10, 20, 5): (6, 8), (20, 32, 6): (8, 10), (10, 32, 7): (10, 12), (50, 32, 8): (8, 10)}
    assert sum(a > b for a, b in ahead.values()) == 7
    assert len(sizes) == 185
    assert sum(scheme.min_distance == bound for scheme, bound in zip(built, bounds)) == 156
    assert sum(scheme.min_distance == bound for scheme, bound in zip(found, bounds)) == 153
