"""A model's energies from `forward`, for wrappers that know no other method: DistributedDataParallel and the like."""
from typing import Any, Callable, List, Mapping, Optional, Set, Tuple

import torch.nn as nn
from timm.models import group_parameters
from torch import Tensor

from .coded_resnet import coded_blocks


class WithEnergies(nn.Module):
    """Calls `forward_energies` where it is called itself.

    DistributedDataParallel, `accelerator.prepare` and autocasting trainers wrap `forward` and pass no other method on.
    So wrap the model in this first, train what they make of it, and use the model itself for all else: both have the
    same parameters.

    The model is its `module`, the name by which timm, accelerate and checkpoints know a wrapper: timm's `unwrap_model`
    finds the model, and a state dict with `module.` before each name loads into the model by timm's `load_checkpoint`.

    Attributes:
        module: the model.
    """

    module: Any  # a model of timm's, whose methods nn.Module does not have

    def __init__(self, model: nn.Module) -> None:
        """
        Args:
            model: A coded model, or any other of timm's, which has no energies.
        """
        super().__init__()
        self.module = model

    def forward(
            self,
            x: Tensor,
            keep: Optional[Mapping[str, Tensor]] = None,
            learn: Optional[Mapping[str, Tensor]] = None,
    ) -> Tuple[Tensor, List[Tensor]]:
        """The model's `forward_energies`.

        Args:
            x: [B, in_chans, H, W].
            keep: As in `CodedResNet.forward_energies`.
            learn: As in `CodedResNet.forward_energies`.

        Returns:
            The logits [B, K], and for every coded block, in order, the energies [B, N] in float32; none for a model
            without coded blocks.

        Raises:
            ValueError: keep or learn names a block that is not coded, or a mask has another shape.
        """
        if coded_blocks(self.module):
            return self.module.forward_energies(x, keep, learn)
        if keep or learn:
            raise ValueError('keep and learn name coded blocks, and this model has none')
        return self.module(x), []

    def no_weight_decay(self) -> Set[str]:
        """timm's: the model's, by the names of the parameters here."""
        names = self.module.no_weight_decay() if hasattr(self.module, 'no_weight_decay') else ()
        return {f'module.{name}' for name in names}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """timm's: the model's layers, by the names of the parameters here."""
        layers = group_parameters(self.module, self.module.group_matcher(coarse), reverse=True)
        return lambda name: layers[name.removeprefix('module.')]
