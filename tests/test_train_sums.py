import pytest
import torch

from timm_coded.train import replicas
from timm_coded.train.sums import Sums

ALONE = replicas.create('cpu')


def test_means_weigh_batches_by_their_images():
    sums = Sums(['loss', 'hits'], ALONE)
    sums.add(torch.tensor(3), {'loss': torch.tensor(6.0), 'hits': torch.tensor(1)})
    sums.add(torch.tensor(1), {'hits': torch.tensor(1), 'loss': torch.tensor(4.0)})
    assert sums.means() == {'loss': 2.5, 'hits': 0.5}
    assert sums.means_before() == {'loss': 2.0, 'hits': pytest.approx(1 / 3)}


def test_there_are_no_means_before_the_second_batch_is_added():
    sums = Sums(['loss'], ALONE)
    assert sums.means() == sums.means_before() == {}
    sums.add(torch.tensor(2), {'loss': torch.tensor(1.0)})
    assert sums.means_before() == {} and sums.means() == {'loss': 0.5}


def test_counts_stay_exact_to_sixteen_million():
    sums = Sums(['hits'], ALONE)
    sums.add(torch.tensor(16_777_000), {'hits': torch.tensor(16_776_999)})
    sums.add(torch.tensor(200), {'hits': torch.tensor(1)})
    assert sums.vector.tolist() == [16_777_200, 16_777_000]


def test_graph_of_the_loss_is_not_kept():
    sums = Sums(['loss'], ALONE)
    sums.add(torch.tensor(1), {'loss': torch.ones((), requires_grad=True) * 2})
    assert not sums.vector.requires_grad
