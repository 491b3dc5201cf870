"""Batch norms that give their input's type under autocast.

PyTorch/XLA's autocast runs a batch norm in float32 and leaves its output in it. So the residual sums of a ResNet, and
all gradients through them, pass through memory at twice the size; on a GPU autocast leaves the input's type, bfloat16.
"""
import torch.nn as nn
from torch import Tensor


class RoundedBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose output is rounded to the type of its input: under autocast bfloat16, else no change."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(x.dtype)


def round_batch_norms(model: nn.Module) -> nn.Module:
    """Make every plain `nn.BatchNorm2d` a `RoundedBatchNorm2d`, in place; the state dict stays. Returns `model`."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = RoundedBatchNorm2d
    return model
