import pytest
import timm
import torch

from timm_coded.models import early_decode


@pytest.mark.parametrize('name', ['coded_resnext29_10x11d', 'coded_resnext29_20x6d', 'coded_resnext50_32x4d'])
def test_decoder_finds_the_nearest_codeword(name):
    torch.manual_seed(0)
    model = timm.create_model(name)
    for block in model.coded_blocks:
        words = model.codewords(block).float()
        target = torch.arange(0, model.num_classes, 7)
        num_active = model.get_submodule(block).num_active
        energies = words[target] * model.num_subnns / num_active
        assert torch.equal(early_decode(energies, model.codewords(block)), target)
        noisy = (energies + 0.3 * torch.rand_like(energies)) * 5
        distance = torch.cdist(noisy / noisy.sum(1, keepdim=True) * num_active, words)
        assert torch.equal(early_decode(noisy, model.codewords(block)), distance.argmin(1))


def test_autocast_does_not_round_the_energies():
    words = torch.eye(8)[:, :4].repeat(1, 2)[:4]
    energies = torch.tensor([[1.0, 1.0 + 2 ** -12, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert early_decode(energies, words).item() == 1
