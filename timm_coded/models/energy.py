"""Energies of the subNNs, Eq. (2) and (3) of the paper, without their outputs.

SubNN n of a block maps its d bottleneck channels z_n to t_n = W_n z_n with C channels. The paper normalises and
measures the N tensors t_n, [B, N, C, H, W], which is N times the block's own output. None of them is needed:

    C H W E(t_n) = sum over pixels p of |W_n z_n(p)|^2 = sum over p of z_n(p)^T M_n z_n(p),   M_n = W_n^T W_n  [d, d],

and the sum of the t_n after scaling is the stock 1x1 convolution of the scaled z. Two orders of the same sum are here:
- the Gram form, <M_n, Z_n Z_n^T>: two batched products, the fastest of the eager forms measured on the CPU;
- the convolution form of `packed_energies`, sum of z * (M z), with M a convolution as wide as an accelerator's lanes.
  It keeps z in its own layout, and the TPU compiler's estimate for it is the lower (chosen by `pack_grouped_convs`).
"""
from typing import Any, Tuple

import torch
from torch import Tensor

from .packed_energy import accumulable, packed_energies


def subnn_energies(z: Tensor, weight: Tensor, num_subnns: int, pack: int = 0) -> Tensor:
    """Mean energy of every subNN's output, Eq. (2).

    Args:
        z: Input of the block's last convolution, [B, N * d, H, W].
        weight: Weight of that convolution, [C, N * d, 1, 1].
        num_subnns: N.
        pack: How many neighbouring subNNs share a group of the convolution form, a divisor of N; 0 takes the Gram form.

    Returns:
        E(t_n), [B, N], never negative, in float32 whatever the autocast type (float64 for float64 input).
    """
    if pack > 0:
        return packed_energies(z, weight, num_subnns, pack).clamp_min(0.)
    batch, width, height, depth = z.shape
    channels, d = weight.shape[0], width // num_subnns
    branch = weight.reshape(channels, num_subnns, d).transpose(0, 1)
    gram = self_product(branch.transpose(1, 2))  # M_n, [N, d, d]
    if z.is_contiguous():
        pixels = z.reshape(batch, num_subnns, d, height * depth)
    else:  # in channels_last: a subNN's channels stay beside each other, which makes the copy a fast one
        pixels = z.permute(0, 2, 3, 1).reshape(batch, height * depth, num_subnns, d)
        pixels = pixels.transpose(1, 2).contiguous().transpose(2, 3)
    terms = (accumulable(self_product(pixels)) * accumulable(gram)).sum((2, 3))
    return (terms / (channels * height * depth)).clamp_min(0.)


def self_product(x: Tensor) -> Tensor:
    """x x^T of the last two dimensions, [..., d, K] -> [..., d, d]."""
    if torch.jit.is_scripting():
        return x @ x.transpose(-2, -1)
    return eager_self_product(x)


@torch.jit.ignore
def eager_self_product(x: Tensor) -> Tensor:
    if torch.jit.is_tracing() or torch.compiler.is_compiling():  # graphs of plain operators, for export too
        return x @ x.transpose(-2, -1)
    return SelfProduct.apply(x)


class SelfProduct(torch.autograd.Function):
    """x x^T, whose gradient (G + G^T) x is one product; autograd, which sees two factors, would make two of it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x @ x.transpose(-2, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, = ctx.saved_tensors
        symmetric, factor = grad + grad.transpose(-2, -1), x.to(grad.dtype)  # autocast's product is narrower than x
        if x.is_contiguous() or torch.is_grad_enabled():  # to be differentiated or mapped: plain
            return (symmetric @ factor).to(x.dtype)
        if x.dim() != 3:  # x is the pixels of channels_last: a gradient in that layout
            return (factor.transpose(-2, -1) @ symmetric).transpose(-2, -1).to(x.dtype)
        # x is W_n^T: straight into the layout of the weights, as new memory costs a CPU more than the product.
        n, d, channels = x.shape
        product = symmetric.new_empty((channels, n, d)).permute(1, 0, 2)
        product = product.baddbmm_(factor.transpose(1, 2), symmetric, beta=0)
        return product.transpose(1, 2).to(x.dtype)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        x, = ctx.saved_tensors
        half = tangent @ x.transpose(-2, -1)
        return half + half.transpose(-2, -1)
