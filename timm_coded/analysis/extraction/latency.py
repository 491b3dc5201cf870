"""Measured time of an extracted network beside that of the full one."""
import platform

import numpy as np
import torch
from torch import nn

from ..findings import Row, Table
from ..stopwatch import interleaved_times, iqr
from .sizes import BATCH_SIZES


def latency_table(model: nn.Module, network: nn.Module, image_size: int, repeats: int) -> Table:
    """Time of one forward pass of the full model and of the network cut out of it, on the device where they are.

    The two take turns (`interleaved_times`). The ratio is that of the two times of a repeat. IQR is the distance of the
    quartiles.

    Args:
        model, network: in evaluation mode.
        image_size: Height and width of the images, in pixels.
        repeats: How many pairs of times, 1 at least.

    Raises:
        ValueError: repeats is below 1, or the models are neither on the CPU nor on a GPU of CUDA.
    """
    device = next(model.parameters()).device
    check_timed(device)
    if repeats < 1:
        raise ValueError(f'latency_repeats is {repeats}, expected 1 or more pairs of times')
    rows = [latency_row(model, network, image_size, batch, repeats) for batch in BATCH_SIZES]
    where = torch.cuda.get_device_name(device) if device.type == 'cuda' else (
        f'{platform.machine()} CPU, {torch.get_num_threads()} threads')
    return Table('latency', f'Measured time of a forward pass, {image_size} pixels squared, {where}, '
                            f'torch {torch.__version__}', rows)


def latency_row(model: nn.Module, network: nn.Module, image_size: int, batch: int, repeats: int) -> Row:
    weight = next(model.parameters())
    images = torch.randn(batch, 3, image_size, image_size, device=weight.device, dtype=weight.dtype)
    with torch.inference_mode():
        calls = [lambda: model(images), lambda: network(images)]
        full, extracted = interleaved_times(calls, images.device, repeats)
    ratios = extracted / full
    return {
        'batch': batch,
        'full, median [ms]': np.median(full), 'full, IQR [ms]': iqr(full),
        'extracted, median [ms]': np.median(extracted), 'extracted, IQR [ms]': iqr(extracted),
        'extracted / full, median [%]': 100 * np.median(ratios), 'extracted / full, IQR [%]': 100 * iqr(ratios),
        'repeats': repeats,
    }


def check_timed(device: torch.device) -> None:
    """Raises ValueError: times are not measured on this device."""
    if device.type not in ('cpu', 'cuda'):
        raise ValueError(f'the time of a forward pass is measured on cpu and cuda, the model is on {device.type}: take '
                         'another device, or 0 repeats')

