"""Rounded batch norms give their input's type, change nothing else, and stay out of others' way."""
import copy

import timm
import torch
from torch import nn

from timm_coded.models import RoundedBatchNorm2d, round_batch_norms


class Float32Norm(nn.BatchNorm2d):
    """What PyTorch/XLA's autocast makes of a batch norm."""

    def forward(self, x):
        return super().forward(x.float())


def test_output_has_the_type_of_the_input_and_is_rounded_once():
    x = torch.randn(4, 8, 5, 5).bfloat16()
    norm = nn.BatchNorm2d(8)
    expected = copy.deepcopy(norm)(x.float()).bfloat16()

    class Rounded(RoundedBatchNorm2d, Float32Norm):
        pass

    norm.__class__ = Rounded
    actual = norm(x)
    assert actual.dtype == torch.bfloat16
    assert torch.equal(actual, expected)


def test_in_float32_a_model_and_its_state_dict_stay_what_they_were():
    model = timm.create_model('resnext50_32x4d', num_classes=5).train()
    rounded = round_batch_norms(copy.deepcopy(model))
    assert sum(type(module) is RoundedBatchNorm2d for module in rounded.modules()) == 53
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(rounded(x), model(x))
    for (name, value), (other, expected) in zip(rounded.state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other and torch.equal(value, expected)


def test_batch_norms_with_a_forward_of_their_own_are_left_alone():
    assert type(round_batch_norms(nn.Sequential(Float32Norm(3)))[0]) is Float32Norm
