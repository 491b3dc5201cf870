"""Energies of the subNNs for an accelerator: the convolution form of `subnn_energies`, with its own backward pass.

With M_n = W_n^T W_n, E(t_n) = <z_n, M_n z_n> / (C H W) summed over the pixels. `pack` neighbouring subNNs share a
group of `pack * d` channels, about as wide as the lanes: their M_n are the diagonal blocks of the group's W^T W, whose
other blocks are set to zero, and M z is a convolution whose kernels are as wide as the group. The gradients are

    dE_n/dz_n = 2 M_n z_n / (C H W),      dE_n/dW_n = 2 W_n (sum over pixels of z_n z_n^T) / (C H W):

the first is the forward pass's own product, which autograd, not knowing that M_n is symmetric, would compute again.
"""
from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .subnn_masks import per_channel


def accumulable(x: Tensor) -> Tensor:
    """In a type whose sums over pixels are exact enough: float32 at least."""
    return x if x.dtype == torch.float64 else x.float()


def packed_energies(z: Tensor, weight: Tensor, num_subnns: int, pack: int) -> Tensor:
    """The energies [B, N] of `subnn_energies`, which may come out negative by rounding."""
    if torch.jit.is_scripting():
        return energies_and_product(z, weight, num_subnns, pack)[0]
    return eager_packed_energies(z, weight, num_subnns, pack)


@torch.jit.ignore
def eager_packed_energies(z: Tensor, weight: Tensor, num_subnns: int, pack: int) -> Tensor:
    if torch.jit.is_tracing():  # graphs of plain operators can be saved
        return energies_and_product(z, weight, num_subnns, pack)[0]
    return _PackedEnergies.apply(z, weight, num_subnns, pack)[0]


def energies_and_product(z: Tensor, weight: Tensor, num_subnns: int, pack: int) -> Tuple[Tensor, Tensor, Tensor]:
    """The energies [B, N], M z [B, N * d, H, W], and `same_subnn` of a group."""
    batch, width, height, depth = z.shape
    groups, d = num_subnns // pack, width // num_subnns
    branches = weight.to(z.dtype).reshape(weight.shape[0], width).split(pack * d, dim=1)
    # a product for each group: XLA:CPU takes twice as long to make one of all, with changes of layout
    own = same_subnn(pack, d, z.device)
    gram = torch.stack([branch.t() @ branch for branch in branches]) * own
    product = F.conv2d(z, gram.reshape(width, pack * d, 1, 1), groups=groups)
    terms = (accumulable(product) * accumulable(z)).sum((2, 3))  # pixels first: channels stay in their lanes
    return terms.reshape(batch, num_subnns, d).sum(2) / (weight.shape[0] * height * depth), product, own


class _PackedEnergies(torch.autograd.Function):

    @staticmethod
    def forward(z: Tensor, weight: Tensor, num_subnns: int, pack: int) -> Tuple[Tensor, Tensor, Tensor]:
        return energies_and_product(z, weight, num_subnns, pack)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Tensor, Tensor, int, int], output: Tuple[Tensor, Tensor, Tensor]) -> None:
        z, weight, ctx.num_subnns, ctx.pack = inputs
        _, product, own = output
        ctx.mark_non_differentiable(product, own)
        ctx.save_for_backward(z, weight, product, own)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> Tuple[Tensor, Optional[Tensor], None, None]:
        z, weight, product, own = ctx.saved_tensors
        batch, width, height, depth = z.shape
        groups, d = ctx.num_subnns // ctx.pack, width // ctx.num_subnns
        scale = per_channel(grad * (2 / (weight.shape[0] * height * depth)), d)
        z_grad = (accumulable(product) * scale).to(z.dtype)
        if not ctx.needs_input_grad[1]:
            return z_grad, None, None, None
        pixels = z.reshape(batch, groups, ctx.pack * d, height * depth)
        scaled = (accumulable(z) * scale).to(z.dtype).reshape(pixels.shape)
        # not as a grouped convolution's weight gradient, for which XLA:CPU takes 20 times as long, and a TPU no less
        outer = torch.einsum('ngap,ngbp->gab', scaled, pixels) * own
        branch = weight.to(z.dtype).reshape(weight.shape[0], groups, ctx.pack * d)
        weight_grad = torch.einsum('cga,gab->cgb', branch, outer).reshape(weight.shape)
        return z_grad, weight_grad.to(weight.dtype), None, None


def same_subnn(pack: int, d: int, device: torch.device) -> Tensor:
    """[pack d, pack d], bool: whether two of a group's channels belong to one subNN."""
    subnn = torch.arange(pack * d, device=device) // d
    return subnn[:, None] == subnn
