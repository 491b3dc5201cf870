"""A run on the CPU in this process, and what came to its model."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from timm_coded.models.coded_resnet import CodedResNet
from timm_coded.train.args import parse_args
from timm_coded.train.run import run
from timm_coded.train.stop_or_save import Stopped

SMALL = ['--device', 'cpu', '--model', 'coded_resnext11_10x11d', '--model-kwargs', 'channels=(16, 32, 64)',
         '--img-size', '32', '--mean', '0.5', '--std', '0.5',  # no pixel is mapped to 0
         '--batch-size', '16', '--workers', '0', '--epochs', '1', '--warmup-epochs', '0']
PLAIN = ['--scale', '1', '1', '--ratio', '1', '1', '--hflip', '0', '--color-jitter', '0']  # training images as they are
ONE_STEP = ['--opt', 'momentum', '--lr', '0.1', '--weight-decay', '0']  # 16 images: w - 0.1 gradient


@dataclass
class Record:
    """What came to the model of a run, micro-batch by micro-batch; by default a training epoch is one, of 16 images."""
    start: dict[str, torch.Tensor] = field(default_factory=dict)  # the state that it was created with
    train: list[torch.Tensor] = field(default_factory=list)  # uint8 images [B, 3, H, W], erased ones with -1
    eval: list[torch.Tensor] = field(default_factory=list)
    train_logits: list[torch.Tensor] = field(default_factory=list)
    eval_logits: list[torch.Tensor] = field(default_factory=list)
    train_energies: list[list[torch.Tensor]] = field(default_factory=list)
    eval_energies: list[list[torch.Tensor]] = field(default_factory=list)
    states: list[dict[str, torch.Tensor]] = field(default_factory=list)  # of the model before each in training
    dtypes: set = field(default_factory=set)  # (whether in training, of the first layer's output)
    draws: list[list[float]] = field(default_factory=list)  # random numbers that were up next in each training step
    folder: Path = None  # of the run
    stopped: bool = False

    def last(self) -> dict:
        return torch.load(self.folder / 'last.pth.tar', weights_only=True)

    def end(self) -> dict[str, torch.Tensor]:
        return self.last()['state_dict']

    def rows(self) -> list[dict[str, float]]:
        """Of the summary."""
        return self.last()['history']


def record(
        data: Path | None,
        output: Path,
        *argv: str,
        stop_at: int | None = None,
        watch: Callable[[nn.Module], None] = lambda model: None,
) -> Record:
    """Runs the loop, and looks on by forward hooks.

    Args:
        stop_at: the run is told to stop when it asks for the time of this number: it asks after every step, every
            batch of evaluation and every epoch.
        watch: gets the new model, for hooks of the test's own.
    """
    seen = Record(folder=output / 'run')
    timm_create_model = timm.create_model
    forward_energies = CodedResNet.forward_energies
    asked = 0

    def after_first_layer(layer, inputs, result):
        pixels, = inputs
        if not pixels.any():
            return  # a trial, not an image
        images = torch.where(pixels == 0, -1, (127.5 * pixels + 127.5).round()).short()
        (seen.train if layer.training else seen.eval).append(images)
        seen.dtypes.add((layer.training, result.dtype))
        if layer.training:
            with torch.random.fork_rng(devices=[]):
                seen.draws.append(torch.rand(4).tolist())

    def after_classifier(layer, inputs, logits):
        (seen.train_logits if layer.training else seen.eval_logits).append(logits.detach().clone())

    def watched_forward_energies(model, *args, **kwargs):
        if model.training:
            seen.states.append({name: tensor.detach().clone() for name, tensor in model.state_dict().items()})
        logits, energies = forward_energies(model, *args, **kwargs)
        (seen.train_energies if model.training else seen.eval_energies).append([each.detach() for each in energies])
        return logits, energies

    def create_watched_model(*args, **kwargs):
        model = timm_create_model(*args, **kwargs)
        seen.start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.conv1.register_forward_hook(after_first_layer)
        model.get_classifier().register_forward_hook(after_classifier)
        watch(model)
        return model

    def stop():
        nonlocal asked
        asked += 1
        return 'the test says so' if stop_at is not None and asked >= stop_at else ''

    words = [*SMALL, *([str(data)] if data else []), '--output', str(output), '--experiment', 'run', *argv]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, 'create_model', create_watched_model)
        patch.setattr(CodedResNet, 'forward_energies', watched_forward_energies)
        try:
            run(parse_args(words), stop)
        except Stopped:
            seen.stopped = True
    assert seen.stopped == (stop_at is not None)
    return seen


def files(folder: Path) -> torch.Tensor:
    """The images of a folder as they are, in order: [B, 3, H, W]."""
    images = [np.asarray(Image.open(path).convert('RGB')) for path in sorted(folder.glob('*/*.jpg'))]
    return torch.tensor(np.stack(images)).permute(0, 3, 1, 2).short()


def in_any_order(images: torch.Tensor) -> list:
    return sorted(image.flatten().tolist() for image in images)


def which(images: torch.Tensor, of: torch.Tensor) -> list[tuple[int, bool]]:
    """For each image, which it is among those of a folder, and whether it is mirrored."""
    equal = torch.stack([(images[:, None] == of).flatten(2).all(2), (images[:, None] == of.flip(-1)).flatten(2).all(2)])
    assert equal.sum((0, 2)).tolist() == [1] * len(images)
    return [(int(index), bool(mirrored)) for mirrored, _, index in sorted(equal.nonzero().tolist(), key=lambda x: x[1])]
