"""What each replica has of its own comes back to it, and to other numbers of replicas fairly."""
from types import SimpleNamespace

import pytest
import timm
import torch

from timm_coded.train import replicas
from timm_coded.train.local_state import gather_local, restore_statistics, restored_sums, running_statistics


def make_models(seed: int) -> list[torch.nn.Module]:
    """A model and its moving average, with running statistics of their own."""
    torch.manual_seed(seed)
    models = [timm.create_model('coded_resnext11_10x11d', channels=(16, 32, 64), num_classes=10) for _ in range(2)]
    for buffer in running_statistics(*models):
        buffer.uniform_(0.5, 1.5)
    return models


def gathered() -> tuple[list, dict[str, torch.Tensor]]:
    """Two replicas' models, and what a checkpoint has of them."""
    both = [make_models(seed) for seed in (1, 2)]
    alone = [gather_local(replicas.create('cpu'), models, torch.tensor([8.0, 16.0 * number]))
             for number, models in enumerate(both)]
    return both, {key: torch.cat([local[key] for local in alone]) for key in alone[0]}


def statistics(models: list[torch.nn.Module]) -> list[torch.Tensor]:
    """By the names that timm and PyTorch give them."""
    return [value for model in models for name, value in model.state_dict().items() if 'running_' in name]


def test_all_running_statistics_and_nothing_else_are_local():
    models = make_models(1)
    assert [id(buffer) for buffer in running_statistics(*models)] == [
        id(buffer) for model in models for name, buffer in model.named_buffers() if 'running_' in name]


@pytest.mark.parametrize('rank', [0, 1])
def test_each_replica_gets_its_own_back(rank):
    both, local = gathered()
    assert local['statistics'].shape[0] == 2 and local['sums'].tolist() == [[8, 0], [8, 16]]
    other = make_models(7)
    codewords = other[0].codewords('layer3.0').clone()
    replica = SimpleNamespace(rank=rank, world=2)
    restore_statistics(replica, other, local)
    assert all(map(torch.equal, statistics(other), statistics(both[rank])))
    assert torch.equal(other[0].codewords('layer3.0'), codewords)
    assert restored_sums(replica, local).tolist() == [8, 16 * rank]


@pytest.mark.parametrize('world', [1, 3, 4])
def test_another_number_of_replicas_gets_the_mean_statistics_and_equal_shares_of_the_sums(world):
    both, local = gathered()
    total = 0
    for rank in range(world):
        other, replica = make_models(7), SimpleNamespace(rank=rank, world=world)
        restore_statistics(replica, other, local)
        for found, one, two in zip(statistics(other), *map(statistics, both), strict=True):
            torch.testing.assert_close(found, (one + two) / 2)
        total = total + restored_sums(replica, local)
    assert total.tolist() == pytest.approx([16, 16]), 'no image is lost or counted twice'
