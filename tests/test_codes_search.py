"""source='search' is the paper's Algorithm 1: greedy, seeded, balanced, and clear about what it cannot do."""
from itertools import combinations

import numpy as np
import pytest

from timm_coded.codes import coding_scheme
from timm_coded.codes.balance import even_subset, least_unevenness
from timm_coded.codes.exchange import exchange
from timm_coded.codes.lexicode import lexicode


def algorithm_1_greedy_set(num_subnns: int, num_active: int, min_distance: int, mask: int = 0) -> list:
    """Lines 11 to 16 of Algorithm 1, as they are written in the paper."""
    listed = sorted((sum(1 << i for i in word) for word in combinations(range(num_subnns), num_active)),
                    key=lambda word: word ^ mask)
    members = []
    for word in listed:
        if all(bin(word ^ member).count('1') >= min_distance for member in members):
            members.append(word)
    return members


@pytest.mark.parametrize('sizes', [
    (1, 1, 2), (2, 1, 2), (7, 3, 2), (9, 4, 4), (10, 5, 4), (10, 3, 4), (10, 5, 6), (11, 1, 2), (12, 6, 6), (12, 9, 4),
    (13, 4, 6), (10, 5, 12), (6, 0, 2), (15, 7, 8),
])
@pytest.mark.parametrize('mask', [0, 0b101101])
def test_greedy_set_is_that_of_algorithm_1(sizes, mask):
    mask &= (1 << sizes[0]) - 1
    found = [int(''.join(map(str, word)), 2) for word in lexicode(*sizes, mask).tolist()]
    assert found == algorithm_1_greedy_set(*sizes, mask)


def test_words_longer_than_32_have_the_same_greedy_set():
    found = [int(''.join(map(str, word)), 2) for word in lexicode(40, 2, 4).tolist()]
    assert found == algorithm_1_greedy_set(40, 2, 4)


@pytest.mark.parametrize('sizes, distance, spread', [
    ((10, 10, 5), 4, 0), ((10, 10, 3), 4, 0), ((100, 20, 8), 8, 0), ((100, 20, 4), 4, 0), ((47, 16, 6), 6, 1),
    ((100, 17, 13), 4, 1), ((3, 7, 1), 2, 1), ((35, 7, 3), 2, 0), ((4, 8, 2), 4, 0), ((2, 8, 4), 8, 0),
    ((1, 9, 4), 0, 1), ((1, 5, 5), 0, 0), ((1, 32, 16), 0, 1), ((60, 24, 5), 6, 1),
])
def test_words_are_apart_and_balanced(sizes, distance, spread):
    scheme = coding_scheme(*sizes, source='search')
    assert scheme.codewords.shape == sizes[:2] and scheme.num_active == sizes[2]
    distances = (scheme.codewords[:, None] != scheme.codewords[None]).sum(axis=-1)[np.triu_indices(sizes[0], 1)]
    assert min(distances, default=0) == distance == scheme.min_distance
    assert np.ptp(scheme.column_sums) <= spread


@pytest.mark.parametrize('num_subnns', range(1, 7))
def test_any_small_sizes_give_a_sound_scheme(num_subnns):
    for num_active in range(1, num_subnns + 1):
        for num_classes in range(1, len(list(combinations(range(num_subnns), num_active))) + 1):
            scheme = coding_scheme(num_classes, num_subnns, num_active, source='search')
            assert len(set(map(bytes, scheme.codewords))) == num_classes and scheme.num_active == num_active
            assert np.ptp(scheme.column_sums) <= 2


def test_same_seed_same_words():
    first = coding_scheme(100, 20, 8, source='search', seed=7)
    assert np.array_equal(coding_scheme(100, 20, 8, source='search', seed=7).codewords, first.codewords)
    assert not np.array_equal(coding_scheme(100, 20, 8, source='search', seed=8).codewords, first.codewords)
    assert np.array_equal(
        coding_scheme(100, 20, 8, source='search').codewords,
        coding_scheme(100, 20, 8, source='search', seed=0).codewords)


def test_global_random_numbers_are_neither_used_nor_touched():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = coding_scheme(47, 16, 6, source='search').codewords
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(2)
    assert np.array_equal(coding_scheme(47, 16, 6, source='search').codewords, first)


def test_command_in_the_scheme_is_the_one_that_made_it():
    scheme = coding_scheme(12, 9, 4, source='search', min_distance=4, seed=3)
    assert scheme.command == (
        'timm-coded codes --num-classes 12 --num-subnns 9 --num-active 4 --source search --min-distance 4 --seed 3')
    assert scheme.construction.startswith('Algorithm 1 with H_min 4 over all words, |G| = 14, seed 3')


def test_more_words_than_can_be_gone_through_are_sampled():
    # C(48, 6) and more do not fit; 30 of weight 12 keep well apart.
    scheme = coding_scheme(30, 48, 12, source='search', min_distance=14)
    assert 'random words' in scheme.construction
    assert scheme.min_distance >= 14 and np.ptp(scheme.column_sums) <= 2


def test_exchange_keeps_the_distance_and_evens_the_columns():
    # All fourteen words of G leave out one of nine positions; any scheme that is balanced needs others.
    everything = np.array([[int(i in word) for i in range(9)] for word in combinations(range(9), 4)], dtype=np.uint8)
    found = lexicode(9, 4, 4)[:12]
    chosen = np.array([int((everything == word).all(axis=1).argmax()) for word in found])
    assert found.sum(axis=0, dtype=int)[0] == 0
    words = everything[exchange(everything, chosen, 4, np.random.RandomState(0))]
    assert np.ptp(words.sum(axis=0, dtype=int)) == 1
    assert (words[:, None] != words[None]).sum(axis=-1)[np.triu_indices(12, 1)].min() >= 4


def test_even_subset_finds_the_only_even_one():
    words = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1]], dtype=np.uint8)
    for seed in range(5):
        subset = even_subset(words, 2, np.random.RandomState(seed))
        assert subset.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_least_unevenness_is_that_of_even_columns():
    for num_subnns in range(1, 9):
        for num_ones in range(40):
            sums = np.full(num_subnns, num_ones // num_subnns)
            sums[:num_ones % num_subnns] += 1
            assert least_unevenness(num_subnns, num_ones) == ((num_subnns * sums - num_ones) ** 2).sum()


@pytest.mark.parametrize('sizes, options, message', [
    ((121, 10, 3), {}, r'only C\(10, 3\) = 120'),
    ((5, 10, 11), {}, 'from 1 to 10'),
    ((10, 10, 3), {'min_distance': 3}, 'must be even'),
    ((10, 10, 3), {'min_distance': 0}, 'must be even and at least 2, .* got 0'),
    ((14, 10, 3), {'min_distance': 4}, r'no 14 words .* at distance 4: A\(10,4,3\) <= 13 < 14'),
    ((13, 10, 3), {'min_distance': 4}, 'finds only 10 words at distance 4, not 13'),
    ((10, 10, 3), {'seed': -1}, 'seed must be from 0'),
    ((10, 10, 3), {'seed': 2 ** 32}, 'seed must be from 0'),
])
def test_what_cannot_be_is_refused(sizes, options, message):
    with pytest.raises(ValueError, match=message):
        coding_scheme(*sizes, source='search', **options)


def test_progress_is_shown_on_stderr_when_asked_for(capsys):
    coding_scheme(100, 20, 4, source='search', progress=True)
    shown = capsys.readouterr()
    assert 'Algorithm 1, H_min 4' in shown.err and shown.out == ''
    coding_scheme(100, 20, 4, source='search')  # stderr is no terminal here
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ('', '')


@pytest.mark.slow
@pytest.mark.parametrize('num_active, distance', [(16, 10), (8, 6)])
def test_a_thousand_words_of_length_32(num_active, distance):
    scheme = coding_scheme(1000, 32, num_active, source='search')
    assert scheme.min_distance == distance and np.ptp(scheme.column_sums) <= 2
