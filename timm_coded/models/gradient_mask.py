"""Gradient masking: from a sample only some subNNs learn, and its output stays what it was.

Appendix E of the paper zeroes gradients in the place of the coding loss; its public code (`--Mask-grads`) does so
between energy normalisation and dropSubNN, x_n <- m_n x_n + (1 - m_n) stop_gradient(x_n), with m the codeword of the
sample's class. Two forms of the sum of these x_n, with z the scaled input of conv3:
- conv3(m z) + stop_gradient(conv3((1 - m) z)), two convolutions and a sum that is rounded in another order;
- one convolution of z whose backward pass is that of m z. It is here: cheaper, and the same output bit for bit.
"""
from typing import Any, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from .subnn_masks import per_channel


class _MaskedGradient(torch.autograd.Function):
    """conv2d(z, weight), with the gradients of conv2d(mask * z, weight)."""

    @staticmethod
    def forward(z: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return F.conv2d(z, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, Tensor, None]:
        z, weight, mask = ctx.saved_tensors
        # autocast is off by now: what it cast for the convolution has to be cast again
        z_grad = conv2d_input(z.shape, weight.to(grad.dtype), grad) * mask
        weight_grad = conv2d_weight((z * mask).to(grad.dtype), weight.shape, grad)
        return z_grad, weight_grad, None


@torch.jit.unused
def masked_gradient_conv(z: Tensor, weight: Tensor, learn: Tensor) -> Tensor:
    """The last convolution of a block, whose gradients flow only into the subNNs that learn.

    Args:
        z: Its input, [B, N * d, H, W], in which only the samples' learning subNNs will get a gradient.
        weight: Its weight, [C, N * d, 1, 1].
        learn: Which subNNs learn from which sample, [B, N] or, from every sample, [N]: 1 = learns, 0 = does not.

    Returns:
        [B, C, H, W], that of the plain convolution.
    """
    mask = learn.reshape(-1, learn.shape[-1]).to(z.dtype)
    return _MaskedGradient.apply(z, weight, per_channel(mask, z.shape[1] // mask.shape[1]))
