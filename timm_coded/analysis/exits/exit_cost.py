"""What leaving early saves: multiply-accumulates, counted, and time, measured."""
import sys
from dataclasses import dataclass
from functools import partial
from typing import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import trange

from timm_coded.codes.progress import is_live

from ..outputs import check_coded
from ..stopwatch import time_call
from .decoding import check_evaluation, decode_with_margin
from .early_exit import EarlyExit, Exits, Rule


@torch.no_grad()
def exit_macs(model: nn.Module, image_shape: Sequence[int]) -> np.ndarray:
    """Multiply-accumulates of an image [C, H, W] alone in its batch that leaves at each coded block.

    Energies and early decoders are counted; element-wise work is not.

    Returns:
        [n + 2] int64: up to and with each coded block and its early decoder; for an image that goes through the whole
        network past n early decoders; for the network without them.

    Raises:
        ValueError: the model has no coded blocks, or is in training mode.
    """
    check_coded(model)
    check_evaluation(model)
    parameter = next(model.parameters())
    image = torch.zeros((1, *image_shape), device=parameter.device, dtype=parameter.dtype)
    counts, decoders = [], 0
    with FlopCounterMode(display=False) as counter:
        x = model.forward_stem(image)
        for name, block in model.named_blocks():
            energies: list[Tensor] = []
            x = block(x, None, None, None, energies)
            if energies:
                before = counter.get_total_flops()
                decode_with_margin(energies[0], model.codewords(name))
                counts.append(counter.get_total_flops())
                decoders += counts[-1] - before
        model.forward_head(x)
        whole = counter.get_total_flops()
    return np.array([*counts, whole, whole - decoders]) // 2


@dataclass
class ExitRun:
    """What a network does with some images, run in fact, not simulated.

    Attributes:
        rule: by which samples left early; None for the whole network.
        accuracy: in percent.
        mean_macs: of an image, counted.
        places: where images left, as in `Exits`, [S]; all n for the whole network.
        batch_size: images at a time, when timed.
        timed: how many images were timed.
        seconds: of these, for each repeat.
    """
    rule: Rule | None
    accuracy: float
    mean_macs: float
    places: np.ndarray
    batch_size: int
    timed: int
    seconds: list[float]

    @property
    def milliseconds(self) -> np.ndarray:
        """Per image: median, first and third quartile over the repeats."""
        return 1000 * np.percentile(self.seconds, [50, 25, 75]) / self.timed


def spread_images(batches: Iterable[tuple[Tensor, Tensor]], total: int, count: int) -> tuple[Tensor, Tensor]:
    """Up to `count` of `total` images, evenly spread over the data set: images on their device, targets [count].

    Raises:
        ValueError: there are no images.
    """
    wanted = torch.zeros(max(total, 1), dtype=torch.bool)
    wanted[np.linspace(0, max(total, 1) - 1, min(count, max(total, 1))).round().astype(int)] = True
    kept, seen = [], 0
    for images, targets in batches:
        real = (targets >= 0).nonzero().squeeze(1)
        rows = real[wanted[seen:seen + len(real)]]
        seen += len(real)
        kept.append((images[rows.to(images.device)], targets[rows]))
    if not seen:
        raise ValueError('there are no samples: give a data set with images')
    images, targets = zip(*kept)
    return torch.cat(images), torch.cat(targets)


@torch.no_grad()
def run_exits(
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        rules: Sequence[Rule],
        batch_sizes: Sequence[int] = (1, 64),
        repeats: int = 5,
        timed: int = 64,
) -> list[ExitRun]:
    """Runs the whole network and `EarlyExit` by each rule over the same images, and times them on a part of these.

    In each repeat all networks take their turn, so that what else the machine does meets all alike. A turn before that
    is not timed warms up.

    Args:
        model: coded, in evaluation mode, on the CPU or a GPU.
        images: [S, C, H, W] on its device, already there, as loading is not what is measured.
        targets: [S] on the CPU.
        batch_sizes: to time; accuracy is taken with the largest.
        repeats: how often.
        timed: images that are timed, evenly spread over the S.

    Raises:
        ValueError: the model is not coded or in training mode, the device is another, or a number is not positive.
    """
    if images.device.type not in ('cpu', 'cuda'):
        raise ValueError(f'leaving early is timed on the CPU or a GPU, not on {images.device.type}, which would '
                         'compile each size of a batch: give --device cpu')
    if min((repeats, timed, *batch_sizes)) < 1:
        raise ValueError(f'{repeats} repeats of {timed} images in batches of {list(batch_sizes)}: expected positive '
                         'numbers')
    if not len(images):
        raise ValueError('there are no samples: give a data set with images')
    macs = exit_macs(model, images.shape[1:])
    networks = {None: model} | {rule: EarlyExit(model, rule) for rule in rules}
    results = {rule: classes_and_places(network, images.split(max(batch_sizes)), len(macs) - 2)
               for rule, network in networks.items()}
    part = images[torch.linspace(0, len(images) - 1, min(timed, len(images))).round().long().to(images.device)]
    runs = []
    for size in batch_sizes:
        seconds = take_turns(networks, part.split(size), repeats)
        for rule, (classes, places) in results.items():
            cost = float(macs[-1]) if rule is None else float(macs[places].mean())
            accuracy = 100 * float((classes == targets.numpy()).mean())
            runs.append(ExitRun(rule, accuracy, cost, places, size, len(part), seconds[rule]))
    return runs


def classes_and_places(network: nn.Module, batches: Sequence[Tensor], whole: int) -> tuple[np.ndarray, np.ndarray]:
    """What a network predicts and where, [S] each; `whole` is the place of one that knows no other."""
    parts = []
    for batch in batches:
        found = network(batch)
        if isinstance(found, Tensor):
            found = Exits(found.argmax(1), torch.full((len(batch),), whole))
        parts.append([values.cpu().numpy() for values in found])
    classes, places = zip(*parts)
    return np.concatenate(classes), np.concatenate(places)


def take_turns(networks: dict, batches: Sequence[Tensor], repeats: int) -> dict:
    """Seconds of each network for all batches, in each repeat; by the networks' keys."""
    seconds = {name: [] for name in networks}
    hidden = not is_live(sys.stderr)
    for repeat in trange(repeats + 1, desc=f'time, batches of {len(batches[0])}', disable=hidden, leave=False):
        for name, network in networks.items():
            taken = time_call(partial(run_batches, network, batches), batches[0].device) / 1000
            if repeat:  # the first warms up
                seconds[name].append(taken)
    return seconds


def run_batches(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """All that it takes to name the classes."""
    for batch in batches:
        found = network(batch)
        if isinstance(found, Tensor):
            found.argmax(1)
