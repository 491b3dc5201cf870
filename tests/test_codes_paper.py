"""source='paper' gives the schemes of the paper's experiments."""
from importlib.resources import files

import numpy as np
import pytest

from timm_coded.codes import coding_scheme
from timm_coded.codes.scheme_file import scheme_to_text

# Table 4, by class: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck.
TABLE_4 = {
    5: ['1010100011', '0101010101', '1101100010', '0011001101', '1010010101', '1001001110', '1011101000', '0100011110',
        '0110111000', '0100110011'],
    3: ['1001001000', '0110001000', '1010000001', '0000001110', '0001010100', '0010100100', '0000110010', '0100010001',
        '0001100001', '1100000010'],
}


def spelled(codewords: np.ndarray) -> list:
    return [''.join(map(str, word)) for word in codewords.tolist()]


@pytest.mark.parametrize('num_active', [5, 3])
def test_cifar10_is_table_4_word_for_word(num_active):
    assert spelled(coding_scheme(10, 10, num_active, source='paper').codewords) == TABLE_4[num_active]


# Appendix A: the arguments of Algorithm 1, and S_min and S_max of the schemes found.
@pytest.mark.parametrize('sizes, distance, lowest, highest', [
    ((10, 10, 5), 4, 5, 5), ((10, 10, 3), 4, 3, 3), ((100, 20, 8), 8, 40, 40), ((100, 20, 4), 4, 20, 20),
    ((1000, 32, 16), 10, 499, 501), ((1000, 32, 8), 6, 249, 251),
])
def test_figures_of_the_paper_are_reached(sizes, distance, lowest, highest):
    scheme = coding_scheme(*sizes, source='paper')
    assert scheme.codewords.shape == sizes[:2] and scheme.num_active == sizes[2]
    assert lowest <= scheme.column_sums.min() and scheme.column_sums.max() <= highest
    distances = (scheme.codewords[:, None] != scheme.codewords[None]).sum(axis=-1)[np.triu_indices(sizes[0], 1)]
    assert distances.min() == distance == scheme.min_distance


def test_horse_and_ship_are_closest_in_both_schemes_of_cifar10():
    # The pair that the paper names as an example of distance 4.
    for num_active in (5, 3):
        codewords = coding_scheme(10, 10, num_active, source='paper').codewords
        assert (codewords[7] != codewords[8]).sum() == 4


@pytest.mark.parametrize('sizes, distance', [
    ((100, 20, 8), 8),
    ((100, 20, 4), 4),
    ((1000, 32, 8), 6),
    pytest.param((1000, 32, 16), 10, marks=pytest.mark.slow),
])
def test_shipped_words_are_made_again_bit_for_bit(sizes, distance):
    shipped = (files('timm_coded.codes') / 'data' / 'paper_{}_{}_{}.txt'.format(*sizes)).read_text(encoding='utf-8')
    made = scheme_to_text(coding_scheme(*sizes, source='search', min_distance=distance, seed=0))
    assert made == shipped
    # The command in the header is the one that was just followed.
    assert f'--source search --min-distance {distance} --seed 0\n' in shipped


@pytest.mark.parametrize('sizes', [(99, 20, 8), (1000, 32, 24), (10, 10, 4)])
def test_other_sizes_are_refused_with_those_that_are_there(sizes):
    with pytest.raises(ValueError, match=r'the paper has no scheme .*\(10, 10, 5\).*\(1000, 32, 8\); use'):
        coding_scheme(*sizes, source='paper')
