"""The layout of a stem on the CPU.

PyTorch's max-pooling on a CPU is vectorised over channels, in channels_last only: for a ResNet's stem at 224 pixels and
batch 8, 2 cores take 28 ms in the default layout, 3 in channels_last, and 585 for the whole network. So the stem of a
network in the default layout had better run in channels_last, and only its output, a quarter of the pixels, be brought
back. Same function; the modules that are called, and their hooks, stay the same.
"""
import torch
import torch.fx
import torch.nn as nn
from torch import Tensor


def gains_by_channels_last(x: Tensor, conv: nn.Module, pool: nn.Module) -> bool:
    """Whether the stem from `conv` to `pool` pools x [B, C, H, W] eagerly, on a CPU, and in the default layout."""
    if isinstance(x, torch.fx.Proxy) or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False  # a graph's compiler chooses layouts
    return bool(
        x.device.type == 'cpu' and type(conv) is nn.Conv2d and type(pool) is nn.MaxPool2d
        and conv.in_channels > 1  # of one channel both layouts look alike
        and x.is_contiguous() and conv.weight.is_contiguous()
    )


def channels_last(x: Tensor) -> Tensor:
    """x [B, C, H, W] in channels_last, by way of its axes: torch.func.vmap has no memory formats."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
