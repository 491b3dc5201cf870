"""Leaving a coded network early: at the first coded block that is sure enough of the class (Section 4.4)."""
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from timm_coded.models import CodedResNet

from ..outputs import Outputs, check_coded
from .decoding import check_evaluation, decode_with_margin

CHUNK = 4096  # samples decoded at a time
Array = TypeVar('Array', Tensor, np.ndarray)


@dataclass(frozen=True)
class Margin:
    """Leave at the first coded block whose margin, as `decode_with_margin` has it, reaches a threshold in [0, 1].

    Raises:
        ValueError: the threshold is out of range.
    """
    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f'the threshold of the margin is {self.threshold}, expected a number from 0 to 1')

    def leaves(self, margins: Array, runs: Array) -> Array:
        """Whether a sample leaves, from its margin at the block and its run so far."""
        return margins >= self.threshold

    def __str__(self) -> str:
        return f'margin {self.threshold:g}'


@dataclass(frozen=True)
class Agreement:
    """Leave at the first coded block that ends a run of `count` coded blocks in succession which name the same class.

    Raises:
        ValueError: the count is not positive.
    """
    count: int

    def __post_init__(self) -> None:
        if self.count != int(self.count) or self.count < 1:
            raise ValueError(f'the count of agreeing blocks is {self.count}, expected 1, 2, ...')

    def leaves(self, margins: Array, runs: Array) -> Array:
        """Whether a sample leaves, from its margin at the block and its run so far."""
        return runs >= self.count

    def __str__(self) -> str:
        return f'agreement {self.count}'


Rule = Margin | Agreement


def check_rule(rule: Rule, blocks: int) -> None:
    """Raises ValueError: the rule asks for more coded blocks than there are."""
    if isinstance(rule, Agreement) and rule.count > blocks:
        raise ValueError(f'{rule.count} coded blocks that agree are asked for, there are {blocks}: give '
                         f'{blocks} at most')


class Exits(NamedTuple):
    """What was predicted, and where.

    Attributes:
        classes: [B] int64.
        places: [B] int64, the index among the coded blocks of that at which each sample left; their number for
            samples that went through the whole network.
    """
    classes: Tensor
    places: Tensor


class EarlyExit(nn.Module):
    """A coded network that computes no further for a sample once a coded block is sure enough of its class.

    Samples that leave are taken out of the batch, so that later blocks work on the rest alone. Shapes follow the data:
    it is for the CPU and GPUs; an XLA device would compile each shape.

    Raises:
        ValueError: the model has no coded blocks, or fewer than the rule asks for.
    """

    def __init__(self, model: CodedResNet, rule: Rule) -> None:
        super().__init__()
        check_coded(model)
        check_rule(rule, len(model.coded_blocks))
        self.model = model
        self.rule = rule
        self.training = model.training

    @torch.no_grad()
    def forward(self, images: Tensor) -> Exits:
        """[B, in_chans, H, W] -> classes and where they were known.

        Raises:
            ValueError: the model is in training mode.
        """
        check_evaluation(self.model)
        classes = images.new_empty(len(images), dtype=torch.int64)
        places = torch.full_like(classes, len(self.model.coded_blocks))
        rows = torch.arange(len(images), device=images.device)  # of the batch, that are still in
        runs, last = torch.zeros_like(rows), torch.full_like(rows, -1)
        place = 0
        x = self.model.forward_stem(images)
        for name, block in self.model.named_blocks():
            energies: list[Tensor] = []
            x = block(x, None, None, None, energies)
            if not energies:
                continue
            decoded, margins = decode_with_margin(energies[0], self.model.codewords(name))
            runs = torch.where(decoded == last, runs + 1, 1)
            last = decoded
            leaves = self.rule.leaves(margins, runs)
            if leaves.any():
                classes[rows[leaves]] = decoded[leaves]
                places[rows[leaves]] = place
                stay = (~leaves).nonzero().squeeze(1)
                if not len(stay):
                    return Exits(classes, places)
                x, rows, runs, last = (values.index_select(0, stay) for values in (x, rows, runs, last))
            place += 1
        classes[rows] = self.model.forward_head(x).argmax(1)
        return Exits(classes, places)


class Traces:
    """What all coded blocks would tell a rule about each of S samples, from stored outputs.

    Attributes:
        classes: of each early decoder and, last, the network: [S, n + 1].
        margins: [S, n].
        runs: how many blocks up to this one, without a break, name its class: [S, n].
    """
    classes: np.ndarray
    margins: np.ndarray
    runs: np.ndarray

    def __init__(self, outputs: Outputs) -> None:
        shape = len(outputs.targets), len(outputs.blocks)
        decoded, self.margins = np.empty(shape, np.int64), np.empty(shape, np.float32)
        for index, block in enumerate(outputs.blocks):
            words = torch.tensor(outputs.codewords[block])
            for start in range(0, shape[0], CHUNK):  # scores of all classes for all samples at once may not fit
                rows = slice(start, start + CHUNK)
                classes, margins = decode_with_margin(torch.from_numpy(outputs.energies[block][rows]), words)
                decoded[rows, index], self.margins[rows, index] = classes.numpy(), margins.numpy()
        self.classes = np.concatenate((decoded, outputs.predictions[:, None]), 1)
        self.runs = np.ones_like(decoded)
        for index in range(1, decoded.shape[1]):
            same = decoded[:, index] == decoded[:, index - 1]
            self.runs[:, index] += same * self.runs[:, index - 1]

    def leave(self, rule: Rule) -> Exits:
        """What `EarlyExit` would give, simulated.

        Raises:
            ValueError: the rule asks for more coded blocks than there are.
        """
        samples, blocks = self.margins.shape
        check_rule(rule, blocks)
        leaves = np.ones((samples, blocks + 1), dtype=bool)
        leaves[:, :-1] = rule.leaves(self.margins, self.runs)
        places = leaves.argmax(1)
        return Exits(torch.from_numpy(self.classes[np.arange(samples), places]), torch.from_numpy(places))
