import math

import pytest
import torch

from timm_coded.train.finite import FiniteWatch

CPU = torch.device('cpu')


def watch(*micro_batches: tuple[float, float], first: int = 0) -> FiniteWatch:
    finite = FiniteWatch(['class', 'layer3.0'], CPU, first)
    for values in micro_batches:
        finite.add([torch.tensor(value) for value in values])
    return finite


def test_finite_losses_are_not_broken_however_large():
    assert watch().broken() is None
    assert watch((0.0, 3e38), (-3e38, 1.0)).broken() is None


@pytest.mark.parametrize('value', [math.inf, -math.inf, math.nan])
def test_first_micro_batch_is_remembered_with_the_terms_that_broke_in_it(value):
    assert watch((1, 1), (1, value), (value, value), (1, 1)).broken() == (2, ['layer3.0'])
    assert watch((value, value), (1, value)).broken() == (1, ['class', 'layer3.0'])
    assert watch((1, 1), (1, 1), (value, 1)).broken() == (3, ['class'])


def test_micro_batches_that_came_before_are_counted():
    assert watch((1, 1), (math.nan, 1), first=40).broken() == (42, ['class'])


def test_state_of_one_micro_batch_ago_can_be_read_without_waiting():
    finite = watch((1, 1), (math.nan, 1))
    assert finite.broken(before=True) is None
    finite.add([torch.tensor(1.0), torch.tensor(1.0)])
    assert finite.broken(before=True) == finite.broken() == (2, ['class'])


def test_graph_of_the_loss_is_not_kept_and_any_type_is_taken():
    finite = FiniteWatch(['class', 'layer3.0'], CPU)
    finite.add([torch.ones((), requires_grad=True) * 2, torch.tensor(math.inf, dtype=torch.bfloat16)])
    assert not finite.vector.requires_grad and finite.broken() == (1, ['layer3.0'])
