"""The coding loss, Eq. (5) and (6) of the paper, as a wrapper around any classification loss."""
import math
from typing import Dict, List, Sequence, Tuple, Union

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

    The exponent 4 and a threshold T of 0 are Eq. (5). The paper's public code generalises it
    (`--LossDisentangle-type powerP_thresholdT`): the mean of relu(|r E_n - w_{k,n}| - T)^P.

    `parts` holds the terms of the last call, detached: 'class', and L_code,l by the block's name, each before mu.
    """

    def __init__(
            self,
            criterion: nn.Module,
            model: nn.Module,
            mu: float = 2.0,
            exponent: float = 4.0,
            threshold: float = 0.0,
    ) -> None:
        """
        Args:
            criterion: The classification loss, called with logits [B, K] and the target; a mean over samples.
            model: The model whose outputs it will be given. Its codewords are read at every call, so that they follow
                its device, its checkpoint and its number of classes. Without coded blocks the loss is the criterion.
            mu: Weight of the coding loss: 2 for ImageNet, 6 for CIFAR (Table 2).
            exponent: P. With 2 and with 1 the paper's CIFAR-10 network loses 1.3 and 7.3 points (Section 3.1.2).
            threshold: T, the distance of an energy from its codeword's digit that costs nothing.

        Raises:
            ValueError: mu or threshold is negative, or exponent below 1, or one of them is no finite number; or the
                criterion is the model.
        """
        super().__init__()
        if coded_blocks(criterion):
            raise ValueError('the criterion is a model: expected CodingLoss(criterion, model), in this order')
        if not 0. <= mu < math.inf:
            raise ValueError(f'mu is {mu}, expected the non-negative weight of the coding loss')
        if not 1. <= exponent < math.inf:
            raise ValueError(
                f'exponent is {exponent}, expected at least 1: below, the gradient at a codeword is infinite')
        if not 0. <= threshold < math.inf:
            raise ValueError(f'threshold is {threshold}, expected a distance of 0 or more that costs nothing')
        self.criterion = criterion
        self.mu = mu
        self.exponent = exponent
        self.threshold = threshold
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
            ValueError: output and the model's coded blocks or classes do not agree, or the criterion gives no scalar.
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
        if loss.dim() > 0:
            raise ValueError(f"the criterion's loss has the shape {list(loss.shape)}, expected a scalar, the mean over "
                             "samples: leave out reduction='none'")
        self.parts = {'class': loss.detach()}
        if blocks:
            schemes = [model.codewords(block) for block in blocks]
            if len(schemes[0]) != logits.shape[1]:
                raise ValueError(f'the logits are of {logits.shape[1]} classes, the codewords of {len(schemes[0])}: '
                                 'make the loss of the model that gives the logits')
            losses = coding_losses(energies, schemes, target, model.num_subnns, self.exponent, self.threshold)
            self.parts |= zip(blocks, losses.detach().unbind())
            loss = loss + self.mu * losses.sum()
        return loss

    def class_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The criterion over the samples whose target is not -1, with static shapes."""
        if target.is_floating_point():
            return self.criterion(logits, target)
        ignored = target < 0
        ignore_index = getattr(self.criterion, 'ignore_index', None)
        if ignore_index is not None:
            loss = self.criterion(logits, target.masked_fill(ignored, ignore_index))
            return torch.where(ignored.all(), torch.zeros_like(loss), loss)
        # The criterion knows no ignored samples: give them one known loss, that of zero logits and class 0, and take
        # it out of the mean again.
        filled = self.criterion(logits.masked_fill(ignored[:, None], 0.), target.masked_fill(ignored, 0))
        filler = self.criterion(torch.zeros_like(logits[:1]), torch.zeros_like(target[:1]))
        num_ignored = ignored.sum()
        num_valid = (len(target) - num_ignored).clamp_min(1)
        restored = (filled * len(target) - filler * num_ignored) / num_valid
        return torch.where(num_ignored > 0, restored, filled)


def coding_losses(
        energies: Sequence[Tensor],
        schemes: Sequence[Tensor],
        target: Tensor,
        num_subnns: int,
        exponent: float = 4.0,
        threshold: float = 0.0,
) -> Tensor:
    """L_code of every block, Eq. (5), averaged over the batch.

    All blocks at once: their energies are so few that an operator costs its launch, or its tracing, and little else.

    Args:
        energies: Each block's normalised energies, or those of a model without energy normalisation, [B, n].
        schemes: Each block's coding scheme, [K, n], all codewords of one weight N_act; blocks may share a tensor.
        target: Classes [B] int64, of which -1 is ignored, or soft targets [B, K].
        num_subnns: N. Where n is less, in a network that was cut out of another one, the energies and the codewords'
            digits of the other subNNs are zeros.
        exponent: P of relu(|r E_n - w_{k,n}| - T)^P.
        threshold: T of it.

    Returns:
        [L] for L blocks, of the energies' type; 0 when every target is ignored.
    """
    stacked = torch.stack([widened(energy, num_subnns) for energy in energies])
    distinct = {id(scheme): scheme for scheme in schemes}
    wanted = {key: wanted_energies(widened(scheme, num_subnns).to(stacked.dtype), target)
              for key, scheme in distinct.items()}
    words, ratios = (torch.stack(column) for column in zip(*(wanted[id(scheme)] for scheme in schemes)))
    losses = penalty(ratios[:, None, None] * stacked - words, exponent, threshold).mean(2)
    if target.is_floating_point():
        return losses.mean(1)
    valid = target >= 0
    return torch.where(valid, losses, 0.).sum(1) / valid.sum().clamp_min(1)


def wanted_energies(codewords: Tensor, target: Tensor) -> Tuple[Tensor, Tensor]:
    """The codewords [B, N] of the targets, of [K, N], and r = N_act / N, a scalar; of target -1 it is any codeword."""
    ratio = codewords[0].mean()
    if target.is_floating_point():
        with torch.autocast(codewords.device.type, enabled=False):
            return target.to(codewords.dtype) @ codewords, ratio
    return codewords[target.clamp_min(0)], ratio


def widened(x: Tensor, num_subnns: int) -> Tensor:
    """[..., n] -> [..., N], with zeros after what is there."""
    absent = num_subnns - x.shape[-1]
    return nn.functional.pad(x, (0, absent)) if absent else x


def penalty(deviation: Tensor, exponent: float, threshold: float) -> Tensor:
    """relu(|deviation| - threshold)^exponent, for exponents >= 1, with a finite gradient everywhere."""
    if threshold > 0. or exponent % 2 != 0:
        deviation = (deviation.abs() - threshold).relu()
    return deviation.pow(exponent)
