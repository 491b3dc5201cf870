"""A ResNet's stem with batch norm and ReLU after the max-pooling, on a quarter of the pixels.

pool(relu(bn(y))), y = conv(x): a channel's batch norm and ReLU never fall as y grows if the batch norm's weight is
positive, so that the largest of the pooled pixels can be picked before them: relu(bn(pool(y))).
Where the weight is negative, the channel's kernel and the weight change their signs, which changes no output. The
statistics are those of y, of all pixels, with the variance as the mean of squares less the square of the mean, in
float32, as XLA computes those of any batch norm. What is saved is writing the normalised pixels, and reading them and
their gradients again.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .batch_norm import RoundedBatchNorm2d
from .packed_energy import accumulable


def can_pool_first(conv: nn.Module, bn: nn.Module, act: nn.Module, pool: nn.Module) -> bool:
    """Whether `conv_pool_norm` is what these four modules do one after the other."""
    return bool(
        type(conv) is nn.Conv2d and conv.padding_mode == 'zeros' and conv.bias is None
        and type(bn) in (nn.BatchNorm2d, RoundedBatchNorm2d) and bn.affine and bn.track_running_stats
        and bn.momentum is not None and type(act) is nn.ReLU and type(pool) is nn.MaxPool2d
    )


def conv_pool_norm(x: Tensor, conv: nn.Conv2d, bn: nn.BatchNorm2d, pool: nn.MaxPool2d) -> Tensor:
    """pool(relu(bn(conv(x)))), [B, C_in, H, W] -> [B, C, H', W'], running statistics included.

    Where pixels of a window tie, which gets the gradient may differ: here those tie that are equal before the batch
    norm, there also those that its rounding makes equal.
    """
    sign = torch.where(bn.weight < 0, -1., 1.).to(bn.weight.dtype).detach()
    weight = conv.weight * sign[:, None, None, None]
    y = F.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    if bn.training:
        values = accumulable(y)
        mean = values.mean((0, 2, 3))
        var = (values.square().mean((0, 2, 3)) - mean.square()).clamp_min(0.)
        update_running_statistics(bn, sign * mean.detach(), var.detach(), y.numel() // y.shape[1])
    else:
        assert bn.running_mean is not None and bn.running_var is not None  # can_pool_first
        mean, var = sign * bn.running_mean, bn.running_var
    scale = bn.weight * sign * (var + bn.eps).rsqrt()
    shift = bn.bias - mean * scale
    pooled = pool(y)
    return F.relu((accumulable(pooled) * scale[:, None, None] + shift[:, None, None]).to(y.dtype))


@torch.no_grad()
def update_running_statistics(bn: nn.BatchNorm2d, mean: Tensor, var: Tensor, count: int) -> None:
    """As nn.BatchNorm2d does in training: of `count` values a channel, the variance unbiased."""
    assert bn.num_batches_tracked is not None and bn.running_mean is not None and bn.running_var is not None
    assert bn.momentum is not None
    bn.num_batches_tracked.add_(1)
    bn.running_mean.mul_(1 - bn.momentum).add_(mean, alpha=bn.momentum)
    bn.running_var.mul_(1 - bn.momentum).add_(var * (count / max(1, count - 1)), alpha=bn.momentum)
