"""Cutting subNNs and classes out of a network, Section 4.3 of the paper: fewer channels instead of masks of zeros.

SubNN n of a block is the channels [n d, (n + 1) d) of conv1's output, of bn1, of conv2 (its group n), of bn2 and of
conv3's input. No other subNN reads them, so that without them the others do exactly what they did. A block still puts
out all of its C channels: bn3, the shortcut projections and the stem stay whole.
"""
from typing import Dict, List, Mapping, Sequence, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from .coded_block import CodedBottleneck
from .coded_resnet import CodedResNet
from .codeword_buffers import scheme_buffer_name


def cut_subnns(model: CodedResNet, kept: Mapping[int, Sequence[int]]) -> CodedResNet:
    """Keep only some subNNs of the coded blocks, in place. The convolutions must not be packed.

    Args:
        model: Any coded model, one that was cut before too.
        kept: By num_active, the subNNs to keep in all blocks of that scheme: positions among those that are there.

    Returns:
        `model`.

    Raises:
        ValueError: kept has other schemes than the model, or no subNN of one, or a position that is out of range or
            not in order, or a block has a layer between conv1 and conv3 that mixes subNNs.
    """
    if set(kept) != set(model.scheme_sizes):
        raise ValueError(f'kept is for schemes of {sorted(kept)} active subNNs, the model has {model.scheme_sizes}')
    for num_active, positions in kept.items():
        size = len(model.kept_subnns[num_active])
        if not positions or list(positions) != sorted(set(positions)) or positions[0] < 0 or positions[-1] >= size:
            raise ValueError(f'kept[{num_active}] is {list(positions)}, expected some of 0 to {size - 1}, in order')
    blocks = [block for name, block in model.named_blocks() if name in model.coded_blocks]
    for block in blocks:
        check_separate(block)
    for block in blocks:
        cut_block(block, list(kept[block.num_active]))
    for num_active, positions in kept.items():
        name = scheme_buffer_name(num_active, model.num_subnns)
        words = getattr(model, name)
        setattr(model, name, words[:, torch.tensor(positions, device=words.device)])
        model.kept_subnns[num_active] = [model.kept_subnns[num_active][position] for position in positions]
    return model


def keep_classes(model: CodedResNet, classes: Sequence[int]) -> CodedResNet:
    """Keep only the logits and codewords of some classes, in the order given, in place. Returns `model`."""
    rows = torch.tensor(classes, device=model.fc.weight.device)
    take(model.fc, {'weight': (0, rows), 'bias': (0, rows)})
    model.fc.out_features = model.num_classes = len(classes)
    for num_active in model.scheme_sizes:
        name = scheme_buffer_name(num_active, model.num_subnns)
        setattr(model, name, getattr(model, name)[rows])
    return model


def check_separate(block: CodedBottleneck) -> None:
    """Raises ValueError: what lies between conv1 and conv3 is not separate for each subNN."""
    for name in ('bn1', 'bn2'):
        layer = getattr(block, name)
        if not isinstance(layer, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            raise ValueError(f'{block.block_name}.{name} is {type(layer).__name__}: only blocks with batch norm, which '
                             'treats every channel by itself, can be cut')
    if [*block.aa.parameters(), *block.aa.buffers()]:
        raise ValueError(f'{block.block_name}.aa is {type(block.aa).__name__}, which has a filter for each channel: '
                         'blocks with it cannot be cut')


def cut_block(block: CodedBottleneck, positions: List[int]) -> None:
    subnns = torch.tensor(positions, device=block.conv3.weight.device)
    inner, outer = ((subnns[:, None] * width + torch.arange(width, device=subnns.device)).flatten()
                    for width in (block.conv1.out_channels // block.num_subnns,
                                  block.conv3.in_channels // block.num_subnns))
    take(block.conv1, {'weight': (0, inner)})
    take(block.conv2, {'weight': (0, outer)})
    take(block.conv3, {'weight': (1, outer)})
    block.conv1.out_channels = block.conv2.in_channels = len(inner)
    block.conv2.out_channels = block.conv3.in_channels = len(outer)
    block.conv2.groups = block.num_subnns = len(positions)
    for norm, channels in ((block.bn1, inner), (block.bn2, outer)):
        take(norm, {name: (0, channels) for name in ('weight', 'bias', 'running_mean', 'running_var')})
        norm.num_features = len(channels)  # type: ignore[assignment]  # check_separate: a batch norm


def take(layer: nn.Module, selections: Dict[str, Tuple[int, Tensor]]) -> None:
    """Replace tensors of a layer by a selection along a dimension; those that it lacks (None) are left out."""
    for name, (dim, indices) in selections.items():
        whole = getattr(layer, name)
        if whole is None:
            continue
        part = whole.detach().index_select(dim, indices)
        setattr(layer, name, nn.Parameter(part, whole.requires_grad) if isinstance(whole, nn.Parameter) else part)
