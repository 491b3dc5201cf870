"""Which class each early decoder names, how sure it is, and how many agree: Section 4.4 of the paper."""
from typing import Mapping

import numpy as np
import torch
from torch import Tensor, nn


def decode_with_margin(energies: Tensor, codewords: Tensor) -> tuple[Tensor, Tensor]:
    """The class that a block's energies name, as `timm_coded.models.early_decode` does, and by how much.

    The margin is the share of the sample's energy that lies in the active subNNs of the named class, less the share in
    those of the runner-up: in [0, 1], 0 for a tie and for a silent block. Energies equal to a codeword have the margin
    D / (2 N_act), with D the distance from the nearest other codeword; 1 is reached where all energy is in subNNs that
    are inactive for all other classes.

    Args:
        energies: [B, N].
        codewords: [K, N].

    Returns:
        Classes [B] int64 and margins [B].
    """
    with torch.autocast(energies.device.type, enabled=False):
        scores = energies @ codewords.to(energies.dtype).T
    best, decoded = scores.max(1)
    second = scores.scatter_(1, decoded[:, None], -torch.inf).amax(1).clamp_min(0.)
    total = energies.sum(1)
    return decoded, torch.where(total > 0, (best - second) / total, 0.).clamp(0., 1.)


def agreements(decoded: Mapping[str, np.ndarray], predictions: np.ndarray) -> np.ndarray:
    """Which early decoders name the network's class, [S, n] bool; `decoded` has their classes, [S], by block."""
    return np.stack([classes == predictions for classes in decoded.values()], 1)


def agreement(decoded: Mapping[str, np.ndarray], predictions: np.ndarray) -> np.ndarray:
    """How many early decoders name the network's class, [S] (Table 3)."""
    return agreements(decoded, predictions).sum(1)


def check_evaluation(model: nn.Module) -> None:
    """Raises ValueError: the model is in training mode."""
    if model.training:
        raise ValueError('the model is in training mode: call its eval() first')
