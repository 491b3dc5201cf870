"""Lane packing: grouped convolutions about as wide as the accelerator works.

A TPU multiplies 128 channels at a time; ResNeXt's groups are 4 to 32 wide. p neighbouring groups with weights
K_1 .. K_p [o, i, kh, kw] are one group with the block-diagonal weight diag(K_1 .. K_p) [p o, p i, kh, kw]: the same
function of the same parameters, with p times the multiplications, nearly all of which the lanes would have idled
through.
"""
import torch
import torch.fx
import torch.nn as nn
from torch import Tensor


def groups_per_pack(groups: int, in_width: int, out_width: int, lanes: int) -> int:
    """How many neighbouring groups to merge: the largest divisor of `groups` whose merged width fits into `lanes`.

    All of them where that is at most twice as wide: a convolution without groups is faster all the same.
    """
    if groups * max(in_width, out_width) <= 2 * lanes:
        return groups
    fitting = max(1, lanes // max(in_width, out_width))
    return max(p for p in range(1, min(groups, fitting) + 1) if groups % p == 0)


def block_diagonal(weight: Tensor, groups: int, pack: int) -> Tensor:
    """The weight of a grouped convolution with every `pack` groups merged into one.

    Args:
        weight: [groups * o, i, kh, kw].
        groups: Number of groups.
        pack: Groups to merge, a divisor of `groups`.

    Returns:
        [groups * o, pack * i, kh, kw], for a convolution of groups // pack groups.
    """
    if pack == 1:
        return weight
    out_channels, i, kh, kw = weight.shape
    row = torch.arange(out_channels, device=weight.device) // (out_channels // groups) % pack
    column = torch.arange(pack * i, device=weight.device) // i
    own = (row[:, None] == column[None, :]).to(weight.dtype)
    # copies beside each other, not a product with more axes: for a TPU that would be several changes of layout
    return torch.cat([weight] * pack, 1) * own[:, :, None, None]


def cast_first(weight: Tensor, x: Tensor) -> Tensor:
    """The weight in the type that autocast would convolve x in: cast before it is made wider, not after."""
    kind = x.device.type
    if kind != 'meta' and torch.is_autocast_enabled(kind):  # meta, where operations are counted, has no autocast
        return weight.to(torch.get_autocast_dtype(kind))
    return weight


torch.fx.wrap('cast_first')  # a leaf of graphs: what it does depends on the device


class PackedConv2d(nn.Conv2d):
    """A grouped convolution that merges `pack` neighbouring groups; parameters and results are those of nn.Conv2d."""

    pack: int = 1

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if not torch.jit.is_scripting():
            weight = cast_first(weight, x)
        return nn.functional.conv2d(
            x,
            block_diagonal(weight, self.groups, self.pack),
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups // self.pack,
        )


def pack_grouped_convs(model: nn.Module, lanes: int = 128) -> nn.Module:
    """Pack the grouped convolutions of any model, in place; of a coded one also choose the forms for an accelerator.

    These are the convolution form of the energies (`packed_energies`) and pooling before the stem's batch norm
    (`conv_pool_norm`).

    Same function, same parameters (the very same tensors, so that an optimiser goes on), same state dict. Only plain
    zero-padded `nn.Conv2d` modules are converted; subclasses with a forward of their own stay as they are.

    Args:
        model: Any model, timm's or not.
        lanes: Channels that the accelerator multiplies at a time, 128 on a TPU: the width of a merged group. A
            convolution of up to twice as many becomes one group.

    Returns:
        `model`.

    Raises:
        ValueError: lanes is not positive.
    """
    if lanes < 1:
        raise ValueError(f'lanes is {lanes}, expected the width of a packed group: a positive number, e.g. 128')
    unpack_grouped_convs(model)
    for module in model.modules():
        if type(module) is nn.Conv2d and module.groups > 1 and module.padding_mode == 'zeros':
            pack = groups_per_pack(
                module.groups, module.in_channels // module.groups, module.out_channels // module.groups, lanes)
            if pack > 1:
                module.__class__ = PackedConv2d
                module.pack = pack  # type: ignore[assignment]
        if callable(use_lanes := getattr(module, 'use_lanes', None)):
            use_lanes(lanes)
    return model


def unpack_grouped_convs(model: nn.Module) -> nn.Module:
    """Undo `pack_grouped_convs`, in place. Returns `model`."""
    for module in model.modules():
        if type(module) is PackedConv2d:
            del module.pack
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
        if callable(use_lanes := getattr(module, 'use_lanes', None)):
            use_lanes(0)
    return model
