"""The coding loss, Eq. (5) and (6) of the paper, as a wrapper around any classification loss."""
from typing import Dict, List, Tuple, Union

import torch
import torch.nn as nn
from timm.utils import unwrap_model
from torch import Tensor

from .models import coded_blocks

Output = Union[Tensor, Tuple[Tensor, List[Tensor]]]


class CodingLoss(nn.Module):
    """L_tot = L_class + mu * sum over the coded blocks of L_code,l, Eq. (6).

    L_code,l is the mean over the batch and over the N subNNs of (r E_n - w_{k,n})^4, Eq. (5), with E_n the normalised
    energies of block l, w_k the codeword of the sample's class and r = N_act / N. For soft targets y [B, K] the
    codeword is y @ codewords, which for one-hot y is Eq. (5).

    `parts` holds the terms of the last call, detached: 'class', and L_code,l by the block's name, each before mu.
    """

    def __init__(self, criterion: nn.Module, model: nn.Module, mu: float = 2.0) -> None:
        """
        Args:
            criterion: The classification loss, called with logits [B, K] and the target; a mean over samples.
            model: The model whose outputs it will be given. Its codewords are read at every call, so that they follow
                its device, its checkpoint and its number of classes. Without coded blocks the loss is the criterion.
            mu: Weight of the coding loss: 2 for ImageNet, 6 for CIFAR (Table 2).

        Raises:
            ValueError: mu is negative.
        """
        super().__init__()
        if not mu >= 0.:
            raise ValueError(f'mu is {mu}, expected the non-negative weight of the coding loss')
        self.criterion = criterion
        self.mu = mu
        self.parts: Dict[str, Tensor] = {}
        self._model = (unwrap_model(model),)  # in a tuple: the loss must not own the model's parameters

    def forward(self, output: Output, target: Tensor) -> Tensor:
        """The total loss.

        Args:
            output: (logits [B, K], energies [B, N] of every coded block in order) as from `forward_energies`, or the
                logits [B, K] of a model without coded blocks.
            target: Classes [B] of any integer type, of which -1 is ignored, or soft targets [B, K].

        Returns:
            A scalar; 0 when every target is ignored.

        Raises:
            ValueError: output and the model's coded blocks do not agree.
        """
        model, = self._model
        blocks = coded_blocks(model)
        target = target if target.is_floating_point() else target.long()
        logits, energies = output if isinstance(output, (tuple, list)) else (output, [])
        if len(energies) != len(blocks):
            raise ValueError(
                f'the output has the energies of {len(energies)} blocks, the model has {len(blocks)} coded blocks: '
                f'call the loss with model.forward_energies(x)')
        loss = self.class_loss(logits, target)
        parts = {'class': loss.detach()}
        for block, energy in zip(blocks, energies):
            part = coding_loss(energy, model.codewords(block), target)
            parts[block] = part.detach()
            loss = loss + self.mu * part
        self.parts = parts
        return loss

    def class_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The criterion over the samples whose target is not -1, with static shapes."""
        if target.is_floating_point():
            return self.criterion(logits, target)
        ignored = target < 0
        if hasattr(self.criterion, 'ignore_index'):
            loss = self.criterion(logits, target.masked_fill(ignored, self.criterion.ignore_index))
            return torch.where(ignored.all(), torch.zeros_like(loss), loss)
        # The criterion knows no ignored samples: give them one known loss, that of zero logits and class 0, and take
        # it out of the mean again.
        filled = self.criterion(logits.masked_fill(ignored[:, None], 0.), target.masked_fill(ignored, 0))
        filler = self.criterion(torch.zeros_like(logits[:1]), torch.zeros_like(target[:1]))
        num_ignored = ignored.sum()
        num_valid = (len(target) - num_ignored).clamp_min(1)
        restored = (filled * len(target) - filler * num_ignored) / num_valid
        return torch.where(num_ignored > 0, restored, filled)


def coding_loss(energies: Tensor, codewords: Tensor, target: Tensor) -> Tensor:
    """L_code of one block, Eq. (5), averaged over the batch.

    Args:
        energies: Normalised energies, [B, N].
        codewords: The block's coding scheme, [K, N], all of one weight N_act.
        target: Classes [B] int64, of which -1 is ignored, or soft targets [B, K].

    Returns:
        A scalar of the energies' type; 0 when every target is ignored.
    """
    codewords = codewords.to(energies.dtype)
    ratio = codewords[0].mean()
    if target.is_floating_point():
        with torch.autocast(energies.device.type, enabled=False):
            words = target.to(energies.dtype) @ codewords
        return (ratio * energies - words).pow(4).mean()
    valid = target >= 0
    words = codewords[target.clamp_min(0)]
    loss = (ratio * energies - words).pow(4).mean(1)
    return torch.where(valid, loss, 0.).sum() / valid.sum().clamp_min(1)
