"""The layout in which a network runs on a CPU.

oneDNN's convolutions and PyTorch's max-pooling are faster in channels_last, the more so the more images there are; of
one image alone they are not. So a network in the default layout had better run a batch of the default layout in
channels_last: same function, same modules and hooks, which see tensors of the same shape with other strides. Sums are
rounded in another order. docs/performance.md has the times.
"""
import torch
import torch.fx
from torch import Tensor


def gains_by_channels_last(x: Tensor, weight: Tensor) -> bool:
    """Whether the images x [B, C, H, W] are run eagerly, on a CPU, are several, and in the default layout.

    Args:
        weight: of a convolution of the network with kernels of several pixels: it is in the default layout, too.
    """
    if isinstance(x, torch.fx.Proxy) or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False  # a graph's compiler chooses layouts
    if x.device.type != 'cpu' or x.shape[0] <= 1 or x.shape[1] <= 1:  # of one channel both layouts look alike
        return False
    return x.is_contiguous() and weight.is_contiguous()


def channels_last(x: Tensor) -> Tensor:
    """x [B, C, H, W] in channels_last, by way of its axes: torch.func.vmap has no memory formats."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
