"""Words as rows, supports and integers."""
from itertools import combinations
from math import comb

import numpy as np
import pytest

from timm_coded.codes.words import masks_by_weight, popcount, rows_from_masks, rows_from_supports


def test_rows_from_masks_and_supports():
    assert rows_from_masks([0b101, 0b010], 3).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert rows_from_supports([[0, 2], [1, 2]], 3).tolist() == [[1, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize('num_subnns, num_active', [(1, 1), (5, 0), (7, 3), (12, 12), (64, 2)])
def test_masks_by_weight_are_all_words_once(num_subnns, num_active):
    masks = masks_by_weight(num_subnns, num_active)[num_active]
    assert masks.dtype == np.uint64 and len(masks) == comb(num_subnns, num_active)
    assert set(masks.tolist()) == {sum(1 << n for n in word) for word in combinations(range(num_subnns), num_active)}


@pytest.mark.parametrize('kind', [np.uint32, np.uint64])
def test_popcount_without_numpy_2(monkeypatch, kind):
    values = np.random.default_rng(0).integers(np.iinfo(kind).max, size=(250, 4), dtype=kind, endpoint=True)
    expected = [[bin(value).count('1') for value in row] for row in values.tolist()]
    assert popcount(values).tolist() == expected
    monkeypatch.delattr(np, 'bitwise_count', raising=False)
    assert popcount(values).tolist() == expected
    assert popcount(values.T).tolist() == np.transpose(expected).tolist()
    assert popcount(values[:0]).shape == (0, 4) and popcount(values[:0]).dtype == np.uint8
