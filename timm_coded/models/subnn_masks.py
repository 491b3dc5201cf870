"""Masks of subNNs: as callers give them by block name, checked, and spread over the channels of a block."""
from typing import Dict, Mapping, Optional

import torch
from torch import Tensor


def check_subnn_masks(
        argument: str,
        masks: Optional[Mapping[str, Tensor]],
        num_subnns: Mapping[str, int],
        x: Tensor,
) -> Optional[Dict[str, Tensor]]:
    """Masks on the device of `x`, in its type or float32, whichever is the wider.

    Args:
        argument: The caller's name of the masks, for error messages.
        masks: By block name, each [N] or [B, N]; None for none.
        num_subnns: The number N of subNNs of each coded block, by name.
        x: The model's input, [B, ...].

    Raises:
        ValueError: a name is not that of a coded block, or a mask has another shape.
    """
    if masks is None:
        return None
    checked = {}
    for name, mask in masks.items():
        if name not in num_subnns:
            raise ValueError(f'{argument} names {name!r}; the coded blocks are {", ".join(num_subnns) or "none"}')
        size = num_subnns[name]
        mask = torch.as_tensor(mask, device=x.device)
        if mask.shape not in ((size,), (x.shape[0], size)):
            raise ValueError(
                f'{argument}[{name!r}] has shape {tuple(mask.shape)}, expected ({size},) or '
                f'({x.shape[0]}, {size}): a mask of the subNNs, for all samples or for each')
        checked[name] = mask.to(torch.promote_types(x.dtype, torch.float32))
    return checked


def per_channel(x: Tensor, d: int) -> Tensor:
    """A number for each subNN [B, N] -> one for each of its d channels, [B, N * d, 1, 1]."""
    batch, num_subnns = x.shape
    return x.view(batch, num_subnns, 1, 1).expand(-1, -1, d, -1).reshape(batch, num_subnns * d, 1, 1)
