"""The paper's own form of a coded block: every t_n in memory. Only for comparisons of speed.

`subnn_energies` says why no model needs it. The blocks here are what Section 3.1 spells out, and what the paper's
public code runs: the N outputs t_n [B, N, C, H, W], their energies, their scaling and their sum, one after the other.
"""
from typing import Dict, List, Optional

import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

from .coded_block import CodedBottleneck
from .packed_energy import accumulable


class MaterialisedBottleneck(CodedBottleneck):
    """A CodedBottleneck that makes all t_n; parameters, state dict and, but for rounding, results are the same.

    It removes no subNNs (`keep`), masks no gradients (`learn`) and has none of timm's options between its convolutions.
    """

    def forward(
            self,
            x: Tensor,
            drop: Optional[Dict[int, Tensor]] = None,
            keep: Optional[Dict[str, Tensor]] = None,
            learn: Optional[Dict[str, Tensor]] = None,
            energies: Optional[List[Tensor]] = None,
    ) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H', W']; the arguments are those of `CodedBottleneck.forward`.

        Raises:
            ValueError: keep or learn is given.
        """
        if keep or learn:
            raise ValueError('the materialised form is for comparisons of speed and takes neither keep nor learn')
        shortcut = x if self.downsample is None else self.downsample(x)
        z = self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))
        batch, width, height, depth = z.shape
        n, channels, d = self.num_subnns, self.conv3.out_channels, width // self.num_subnns
        weight = self.conv3.weight.reshape(channels, n, d).transpose(0, 1).reshape(n * channels, d, 1, 1)
        t = F.conv2d(z, weight, groups=n).reshape(batch, n, channels, height, depth)
        energy = accumulable(t).pow(2).mean((2, 3, 4))  # Eq. (2)
        mean = (energy.sum(1, keepdim=True) / self.code_length).clamp_min(self.silent_energy)
        scale = mean.rsqrt().expand(-1, n)  # Eq. (3)
        if drop is not None and self.num_active in drop:
            scale = scale * drop[self.num_active]
        if energies is not None:
            energies.append(energy / mean)
        y = (t * scale.to(t.dtype)[:, :, None, None, None]).sum(1)
        return self.act3(self.bn3(y) + shortcut)


def materialise_subnns(model: nn.Module) -> nn.Module:
    """Give the coded blocks of a model the paper's form, in place. Returns `model`.

    Raises:
        ValueError: the model has no coded block, or draws dropSubNN's masks in each block, or has one with energy_norm
            off or a layer of its own that the form lacks.
    """
    blocks = [module for module in model.modules() if type(module) is CodedBottleneck
              and module.num_active < module.code_length]
    if not blocks:
        raise ValueError(f'{type(model).__name__} has no coded blocks to give the paper\'s form')
    if any(getattr(module, 'drop_per_block', False) for module in model.modules()):
        raise ValueError('drop_per_block: blocks that draw masks of their own are not the paper\'s; leave it out')
    for block in blocks:
        if not block.energy_norm or block.se is not None or block.drop_path is not None \
                or not all(isinstance(layer, nn.Identity) for layer in (block.drop_block, block.aa)):
            raise ValueError(f'block {block.block_name} is not one of the paper: leave out the options of its model')
    for block in blocks:
        block.__class__ = MaterialisedBottleneck
    return model
