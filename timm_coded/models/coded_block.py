"""The Coded ResNeXt block, Section 3.1 of the paper, on timm's Bottleneck, and a stage of such blocks."""
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import torch
import torch.nn as nn
from timm.models import checkpoint
from timm.models.resnet import Bottleneck
from torch import Tensor

from .energy import subnn_energies
from .gradient_mask import masked_gradient_conv
from .packed_conv import groups_per_pack
from .subnn_masks import per_channel

# Leaves of torch.fx graphs: what they do depends on dtypes, which symbolic tracing cannot branch on.
torch.fx.wrap('subnn_energies')


class CodedBottleneck(Bottleneck):
    """A Bottleneck whose `cardinality` groups are N subNNs; parameters and state dict are those of timm's block.

    With num_active = N it is the stock block. Otherwise, with t_n = W_n z_n the output of subNN n:

        t_n <- keep_n t_n                                        removed subNNs (experiments, classifiers)
        E_avg = 1/N sum_n E(t_n)                                 Eq. (2), (3)
        x <- sum_n drop_n t_n / sqrt(E_avg)                      energy normalisation, then dropSubNN (Section 3.1.3)
        energies = E(t_n) / E_avg                                what the coding loss and the early decoder see

    In a network that was cut out of another one (`cut_subnns`) num_subnns of the N subNNs are left. The others count as
    removed: N, the length of the codewords, stays the divisor of E_avg.

    The scaling is applied to z_n, whose convolution by conv3 is that sum. With energy_norm off, as an option of the
    paper's public code has it (`--Energy-normalization`), E_avg is 1: the energies are E(t_n), Eq. (2).
    """

    # Below this mean energy a block counts as silent: its outputs stay at zero, and its gradients finite.
    silent_energy: torch.jit.Final[float] = 1e-12

    if TYPE_CHECKING:  # TorchScript, which reads the annotations of a class, knows no modules in them
        aa: nn.Module

    def __init__(self, *args: Any, cardinality: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, cardinality=cardinality, **kwargs)  # type: ignore[misc]  # args end before it
        self.code_length = cardinality  # N
        self.num_subnns = cardinality  # of them, those that are here
        self.num_active = cardinality
        self.drop_subnn = 0.
        self.energy_norm = True
        self.energy_pack = 0
        self.block_name = ''

    def use_lanes(self, lanes: int) -> None:
        """Choose the form of `subnn_energies`: the convolution form, packed for `lanes`, or for 0 Gram."""
        width = self.conv3.in_channels // self.num_subnns
        self.energy_pack = groups_per_pack(self.num_subnns, width, width, lanes) if lanes > 0 else 0

    def forward(
            self,
            x: Tensor,
            drop: Optional[Dict[int, Tensor]] = None,
            keep: Optional[Dict[str, Tensor]] = None,
            learn: Optional[Dict[str, Tensor]] = None,
            energies: Optional[List[Tensor]] = None,
    ) -> Tensor:
        """Run the block.

        Args:
            x: [B, C_in, H, W].
            drop: dropSubNN masks [B, N] by num_active. In training a block for which it has none draws its own.
            keep: Masks [N] or [B, N] by block name, 0 for a removed subNN; blocks not named keep all.
            learn: Masks [N] or [B, N] by block name, 0 for a subNN that gets no gradient through the output (see
                `masked_gradient_conv`); in blocks not named all learn.
            energies: A list that gets this block's energies [B, N] appended. An out-parameter, so that the module
                returns one tensor, which is what forward hooks, feature extractors and timm expect of a block.

        Returns:
            [B, C_out, H', W'].
        """
        shortcut = x
        learning: Optional[Tensor] = None

        x = self.act1(self.bn1(self.conv1(x)))
        x = self.aa(self.act2(self.drop_block(self.bn2(self.conv2(x)))))
        if self.num_active < self.code_length:
            x, normalised = self.normalise(x, drop, keep)
            if energies is not None:
                energies.append(normalised)
            if learn is not None:
                learning = learn.get(self.block_name)
        if learning is None:
            x = self.conv3(x)
        else:
            x = masked_gradient_conv(x, self.conv3.weight, learning)
        x = self.bn3(x)

        if self.se is not None:
            x = self.se(x)

        if self.drop_path is not None:
            x = self.drop_path(x)

        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        x += shortcut
        return self.act3(x)

    def normalise(
            self,
            z: Tensor,
            drop: Optional[Dict[int, Tensor]],
            keep: Optional[Dict[str, Tensor]],
    ) -> Tuple[Tensor, Tensor]:
        """Scale the subNNs' channels z [B, N * d, H, W]; returns them and the energies [B, N] after it."""
        energies = subnn_energies(z, self.conv3.weight, self.num_subnns, self.energy_pack)
        kept: Optional[Tensor] = None
        if keep is not None:
            kept = keep.get(self.block_name)
        if kept is not None:
            energies = energies * kept
        if self.energy_norm:
            mean = (energies.sum(1, keepdim=True) / self.code_length).clamp_min(self.silent_energy)
            scale = mean.rsqrt().expand(-1, self.num_subnns)
            energies = energies / mean
        else:
            scale = torch.ones_like(energies)
        if kept is not None:
            scale = scale * kept
        mask: Optional[Tensor] = None
        if drop is not None:
            mask = drop.get(self.num_active)
        if mask is None and self.training and self.drop_subnn > 0.:
            mask = draw_drop_mask(z, self.num_subnns, self.drop_subnn)
        if mask is not None:
            scale = scale * mask
        return z * per_channel(scale.to(z.dtype), z.shape[1] // self.num_subnns), energies


class CodedStage(nn.Sequential):
    """Blocks in sequence that hand the same masks and list of energies to each."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__(*blocks)
        self.grad_checkpointing = False

    def forward(
            self,
            x: Tensor,
            drop: Optional[Dict[int, Tensor]] = None,
            keep: Optional[Dict[str, Tensor]] = None,
            learn: Optional[Dict[str, Tensor]] = None,
            energies: Optional[List[Tensor]] = None,
    ) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H', W']; the other arguments are those of `CodedBottleneck.forward`."""
        for block in self:
            if self.grad_checkpointing and not torch.jit.is_scripting():
                x = run_checkpointed(block, x, drop, keep, learn, energies)
            else:
                x = block(x, drop, keep, learn, energies)
        return x


@torch.jit.ignore
def run_checkpointed(
        block: nn.Module,
        x: Tensor,
        drop: Optional[Dict[int, Tensor]],
        keep: Optional[Dict[str, Tensor]],
        learn: Optional[Dict[str, Tensor]],
        energies: Optional[List[Tensor]],
) -> Tensor:
    """`block` under gradient checkpointing. Its energies leave as a result: the recomputation must not append again."""

    def run(x: Tensor) -> Tuple[Tensor, List[Tensor]]:
        own: List[Tensor] = []
        return block(x, drop, keep, learn, own), own

    x, own = checkpoint(run, x)
    if energies is not None:
        energies.extend(own)
    return x


def draw_drop_mask(x: Tensor, num_subnns: int, drop_subnn: float) -> Tensor:
    """A dropSubNN mask [B, N] in float32, one Bernoulli draw per sample and subNN, kept ones scaled by 1 / (1 - p)."""
    mask = x.new_empty((x.shape[0], num_subnns), dtype=torch.float32)
    return mask.bernoulli_(1. - drop_subnn).div_(1. - drop_subnn)
