"""A coding scheme's figures are right, it cannot be changed, and it survives being written and read."""
import copy
import pickle

import numpy as np
import pytest

from timm_coded.codes import CodingScheme, coding_scheme, load_scheme

WORDS = [[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 1, 0]]


def test_figures_of_a_hand_made_scheme():
    scheme = CodingScheme(WORDS)
    assert (scheme.num_classes, scheme.num_subnns, scheme.num_active, scheme.ratio) == (4, 5, 2, 0.4)
    assert (scheme.min_distance, scheme.closest_pairs) == (2, 4)
    assert scheme.column_sums.tolist() == [2, 2, 2, 2, 0]
    assert scheme.codewords.dtype == np.uint8 and scheme.codewords.tolist() == WORDS
    assert scheme.distance_bound.distance == 2  # at distance 4 the words are disjoint, and only two are


@pytest.mark.parametrize('num_classes', [2, 3, 2047, 2048, 2049, 5000])
def test_distance_and_closest_pairs_match_plain_counting(num_classes):
    # Sizes around the block of pairs that are compared at a time.
    scheme = coding_scheme(num_classes, 16, 7)
    words = scheme.codewords
    nearest, pairs = 17, 0
    for k in range(num_classes - 1):
        distances = (words[k + 1:] != words[k]).sum(axis=1)
        if distances.min() < nearest:
            nearest, pairs = distances.min(), 0
        pairs += (distances == nearest).sum()
    assert (scheme.min_distance, scheme.closest_pairs) == (nearest, pairs)


def test_one_class_has_no_pair():
    scheme = CodingScheme([[1, 0, 1]])
    assert (scheme.min_distance, scheme.closest_pairs) == (0, 0)
    assert 'no pair' in scheme.describe()


def test_codewords_are_read_only_and_a_copy():
    given = np.array(WORDS)
    scheme = CodingScheme(given)
    given[0, 0] = 0
    for same in (scheme, copy.deepcopy(scheme), copy.copy(scheme), pickle.loads(pickle.dumps(scheme))):
        assert same.codewords.tolist() == WORDS
        with pytest.raises(ValueError, match='read-only'):
            same.codewords[0, 0] = 0
    with pytest.raises(AttributeError):
        scheme.codewords = given


@pytest.mark.parametrize('words, message', [
    ([[1, 0], [1, 1]], 'same number of ones: class 0 has 1, class 1 2'),
    ([[1, 0, 0], [0, 1, 0], [1, 0, 0]], 'classes 0 and 2 have the same codeword'),
    ([[2, 0]], 'zeros and ones'),
    ([[0.5, 0]], 'zeros and ones'),
    ([[-1, 0]], 'zeros and ones'),
    ([[0, 0]], 'at least one active'),
    ([1, 0], r'table, got shape \(2,\)'),
    (np.zeros((0, 4)), 'table'),
])
def test_wrong_codewords_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        CodingScheme(words)


def test_description_tells_the_figures_and_the_bound():
    text = coding_scheme(1000, 32, 16).describe()
    assert '12 (the bounds allow at most 12, optimal: A(32,14,16) <=' in text
    assert '500 to 500' in text and '121264' in text and 'Tr(cx^3)' in text
    assert 'optimal:' not in CodingScheme(WORDS[:2]).describe().split('column sums')[0]  # 2, though 4 can be had


def test_description_of_a_construction_below_the_bound_names_the_search():
    """Which has more: 10 of (50, 8/32), where the constructions end at 8."""
    built, found = coding_scheme(50, 32, 8), coding_scheme(50, 32, 8, 'search')
    assert built.min_distance == 8 < found.min_distance == 10
    assert "a search may: source 'search'" in built.describe()
    assert 'a search may' not in found.describe() + coding_scheme(100, 20, 8).describe()


@pytest.mark.parametrize('sizes', [(1, 4, 4), (2, 4, 2), (10, 10, 3), (100, 20, 8), (252, 10, 5)])
def test_saved_schemes_are_read_back(tmp_path, sizes):
    scheme = coding_scheme(*sizes)
    scheme.save(tmp_path / 'scheme.txt')
    read = load_scheme(tmp_path / 'scheme.txt')
    assert np.array_equal(read.codewords, scheme.codewords)
    assert read.source == 'file'
    header = (tmp_path / 'scheme.txt').read_text().splitlines()[:3]
    assert header[0] == (
        f'# K={sizes[0]} N={sizes[1]} N_act={sizes[2]}'
        f' min_distance={scheme.min_distance} closest_pairs={scheme.closest_pairs}')
    assert header[2] == (
        f'# made by: timm-coded codes --num-classes {sizes[0]} --num-subnns {sizes[1]} --num-active {sizes[2]}'
        ' --source optimal')


def test_hand_written_files_are_read(tmp_path):
    path = tmp_path / 'scheme.txt'
    path.write_bytes(b'# my own\r\n\r\n  1100 \r\n0011\r\n# between\r\n1010')
    assert load_scheme(str(path)).codewords.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]]


@pytest.mark.parametrize('content, message', [
    (b'', 'no codewords in this file'),
    (b'# K=2 N=2 N_act=1\n', 'no codewords in this file'),
    (b'10\n01\n12\n', "line 3: expected a row of zeros and ones, found '2'"),
    (b'10\n0 1\n', "line 2: expected a row of zeros and ones, found ' '"),
    (b'# a\n10\n\n10\n', 'line 4: same codeword as in line 2'),
    (b'10\n010\n', 'line 2: 3 digits, but the first codeword has 2'),
    (b'100\n110\n', 'line 2: 2 ones, but the first codeword has 1'),
    (b'00\n', 'line 1: a codeword needs at least one 1'),
    (b'# K=3 N=2 N_act=1 min_distance=2\n10\n01\n', 'header states K=3 N=2 N_act=1, but the rows are K=2 N=2 N_act=1'),
    (b'\xff\xfe\x001', 'not a text file'),
])
def test_wrong_files_are_refused_by_name_and_line(tmp_path, content, message):
    path = tmp_path / 'scheme.txt'
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_scheme(path)
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_files_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_scheme(tmp_path / 'none.txt')
