"""Each algebraic construction has as many words, as far apart and as balanced, as its formula says."""
from itertools import combinations
from math import comb

import numpy as np
import pytest

from timm_coded.codes import flats, graham_sloane, octads, quadratic
from timm_coded.codes.gf2m import PRIMITIVE_POLYNOMIALS, binary_field


def check(words: np.ndarray, count: int, weight: int, distance: int, spread: int) -> None:
    """Number, weight, minimum distance of `words`, and how far apart the column sums of their prefixes are at most."""
    assert words.dtype == np.uint8 and len(words) == count
    assert (words.sum(axis=1) == weight).all()
    lowest = min(int((words[k + 1:] != words[k]).sum(axis=1).min()) for k in range(count - 1))
    assert lowest == distance
    sums = np.cumsum(words.astype(int), axis=0)
    assert (sums.max(axis=1) - sums.min(axis=1)).max() <= spread


def multiply_polynomials(a: int, b: int, degree: int) -> int:
    """The product in GF(2^degree), by long multiplication and division of polynomials."""
    product = 0
    for i in range(degree):
        product ^= (a << i) * (b >> i & 1)
    for i in range(2 * degree, degree - 1, -1):
        if product >> i & 1:
            product ^= PRIMITIVE_POLYNOMIALS[degree] << i - degree
    return product


@pytest.mark.parametrize('degree', range(1, 7))
def test_field_arithmetic_is_that_of_polynomials(degree):
    field = binary_field(degree)
    elements = range(2 ** degree)
    products = field.multiply(np.array(elements)[:, None], np.array(elements))
    assert products.tolist() == [[multiply_polynomials(a, b, degree) for b in elements] for a in elements]
    cubes = [multiply_polynomials(a, multiply_polynomials(a, a, degree), degree) for a in elements]
    assert field.power(np.array(elements), 3).tolist() == cubes
    traces = field.trace(np.array(elements))
    assert set(traces.tolist()) == {0, 1} and traces.sum() == 2 ** (degree - 1)
    assert all(traces[a ^ b] == traces[a] ^ traces[b] for a in elements for b in elements)


@pytest.mark.parametrize('degree', PRIMITIVE_POLYNOMIALS)
def test_powers_of_x_run_through_the_whole_field(degree):
    field, element, seen = binary_field(degree), 1, set()
    while element not in seen:
        seen.add(element)
        element = multiply_polynomials(element, 2 % 2 ** degree if degree > 1 else 1, degree)
    assert len(seen) == field.order - 1


@pytest.mark.parametrize('m, k, count', [(3, 2, 14), (4, 2, 140), (4, 3, 30), (5, 2, 1240), (5, 3, 620), (6, 4, 2604)])
def test_flats(m, k, count):
    assert flats.num_flats(m, k) == count
    check(flats.flat_words(m, k, count), count, 2 ** k, 2 ** k, 1)


@pytest.mark.parametrize('m, k, count, distance', [
    (4, 2, 20, 6), (5, 2, 72, 6), (5, 3, 36, 12), (6, 3, 72, 14), (6, 4, 68, 24), (7, 5, 132, 48),
])
def test_flats_along_a_partial_spread(m, k, count, distance):
    assert flats.num_spread_words(m, k) == count
    check(flats.spread_words(m, k, count), count, 2 ** k, distance, 1)


@pytest.mark.parametrize('m, count, distance', [(5, 1054, 12), (6, 2142, 24)])
def test_trace_words(m, count, distance):
    assert quadratic.num_trace_words(m) == count
    check(quadratic.trace_words(m, count), count, 2 ** (m - 1), distance, 1)
    assert len(quadratic.trace_words(m, count + 2)) == count  # there are no more


@pytest.mark.parametrize('m, count, distance', [(3, 70, 2), (4, 870, 4)])
def test_reed_muller_words(m, count, distance):
    assert quadratic.num_reed_muller_words(m) == count
    check(quadratic.reed_muller_words(m, count), count, 2 ** (m - 1), distance, 1)


def test_reed_muller_words_of_length_32_are_counted_right():
    assert quadratic.num_reed_muller_words(5) == 36518 == len(quadratic.reed_muller_words(5, 40000))


def test_words_of_32_subnns_with_8_active():
    check(octads.distance_8_words(1080), 1080, 8, 8, 3)
    assert octads.distance_8_words(1000).sum(axis=0).tolist() == [250] * 32
    assert len(np.unique(octads.distance_6_words(12400), axis=0)) == 12400
    check(octads.hamming_words(3000), 3000, 8, 4, 1)


@pytest.mark.slow
def test_hamming_words_are_all_there_are():
    words = octads.hamming_words(330460)
    assert len(words) == 330460 == len(np.unique(np.packbits(words, axis=1), axis=0))
    # The code has no other words of weight 8: C(32, 8) less those of other syndromes, by its weight enumerator.
    assert (comb(32, 8) + 31 * comb(16, 4)) // 32 == 330460


@pytest.mark.parametrize('num_subnns, num_active, half_distance', [
    (8, 4, 2), (9, 4, 2), (10, 5, 2), (10, 5, 3), (12, 6, 3), (13, 6, 4), (14, 5, 3),
])
def test_residue_classes_keep_their_distance(num_subnns, num_active, half_distance):
    supports = graham_sloane.all_supports(num_subnns, num_active)
    members = [set(support) for support in graham_sloane.largest_class(supports, num_subnns, half_distance).tolist()]
    assert all(len(a ^ b) >= 2 * half_distance for a, b in combinations(members, 2))
    primes = {8: 11, 9: 11, 10: 11, 12: 13, 13: 13, 14: 17}
    classes = num_subnns if half_distance == 2 else primes[num_subnns] ** (half_distance - 1)
    assert len(members) >= len(supports) / classes  # the largest is not below the average


@pytest.mark.parametrize('half_distance', [1, 2])
def test_composed_words(half_distance):
    words = graham_sloane.composed_words(24, 7, 2000, half_distance)
    assert len(np.unique(words, axis=0)) == 2000
    check(words, 2000, 7, 2 * half_distance, 4)
