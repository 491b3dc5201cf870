"""Parameters and multiply-accumulates of an extracted network and of the full one, Section 4.3 of the paper."""
import copy
from typing import Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from timm_coded.models import CodedResNet, unpack_grouped_convs

from ..findings import Row, Table

BATCH_SIZES = 1, 64


def size_table(model: CodedResNet, network: CodedResNet, image_size: int) -> Table:
    """Sizes of the full model and of the network cut out of it, counted in two ways.

    'as cut' is what there is. The paper's way, an estimate, also scales the convolutions in the shortcuts of coded
    blocks by the ratio of subNNs kept, although all of their channels are needed. For the networks of Table 1 it gives
    37.0, 26.9 and 34.3 %, which rounded up are the paper's 38, 27 and 35 %; how it counts the paper does not say.

    Args:
        image_size: Height and width of the images, in pixels.
    """
    ratios = shortcut_ratios(network)
    counted: list[tuple[str, Mapping[str, float], Mapping[str, float]]] = [
        ('parameters', parameters(model), parameters(network))]
    for batch in BATCH_SIZES:
        what = f'multiply-accumulates an image, batch {batch}'
        counted.append(
            (what, multiplications(model, image_size, batch), multiplications(network, image_size, batch)))
    rows = []
    for what, full, cut in counted:
        uncut = sum((1 - ratio) * cut[name] for name, ratio in ratios.items())
        for way, extracted in (('as cut', cut['']), ("the paper's way, estimated", cut[''] - uncut)):
            rows.append(size_row(what, way, full[''], extracted))
    return Table('sizes', f'Size of the extracted network and of the full one, {image_size} pixels squared', rows)


def size_row(what: str, way: str, full: float, extracted: float) -> Row:
    return {'what': what, 'counted': way, 'full': round(full), 'extracted': round(extracted),
            'extracted / full [%]': 100 * extracted / full}


def parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each module by its name, of all of the model by ''."""
    return {name: sum(value.numel() for value in module.parameters()) for name, module in model.named_modules()}


def multiplications(model: nn.Module, image_size: int, batch: int, padded: bool = False) -> dict[str, float]:
    """Multiply-accumulates of convolutions and matrix products for an image, those of the energies included.

    Counted on the meta device, where nothing is computed, and without those that lane packing adds. A batch counts, as
    the products of weights that energies need, W_n^T W_n, are made once for all of its images.

    Args:
        padded: Count what lane packing adds, too.

    Returns:
        By name of the module, of all of the model by ''.
    """
    model = copy.deepcopy(model).to('meta').eval()
    if not padded:
        unpack_grouped_convs(model)
    images = torch.empty(batch, 3, image_size, image_size, device='meta', dtype=next(model.parameters()).dtype)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(images)
    root = type(model).__name__
    return {name[len(root) + 1:]: sum(counts.values()) / (2 * batch)  # two floating-point operations each
            for name, counts in counter.get_flop_counts().items() if name.startswith(root)}


def shortcut_ratios(network: CodedResNet) -> dict[str, float]:
    """The ratio of subNNs kept in the block, for each convolution of a coded block's shortcut by its name."""
    blocks = [block for name, block in network.named_blocks() if name in network.coded_blocks and block.downsample]
    return {
        f'{block.block_name}.downsample.{name}': block.num_subnns / block.code_length
        for block in blocks for name, layer in block.downsample.named_modules() if isinstance(layer, nn.Conv2d)
    }
