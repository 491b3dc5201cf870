"""A model at work: the call that is measured, a training step or a pass of inference on one batch."""
from dataclasses import dataclass
from typing import Callable

import torch
from torch import nn

from ..train.replicas import Replica
from .forms import create_form
from .step import TrainingStep, random_batch


@dataclass(frozen=True)
class Setting:
    """How all models of a comparison run.

    Attributes:
        device: 'cpu', 'cuda' or 'xla'.
        amp_dtype: of mixed precision (autocast), None for float32.
        channels_last: whether weights and images are laid out so.
        compiled: by torch.compile, with its defaults.
        num_classes: K.
    """
    device: str = 'cpu'
    amp_dtype: torch.dtype | None = None
    channels_last: bool = False
    compiled: bool = False
    num_classes: int = 1000


@dataclass(frozen=True)
class Case:
    """What they run: `mode` is 'training' or 'inference'; images are `image_size` pixels squared."""
    mode: str
    batch_size: int
    image_size: int

    def __str__(self) -> str:
        return f'{self.mode}, batch {self.batch_size}, {self.image_size} pixels'


def prepare_call(name: str, case: Case, setting: Setting, replica: Replica) -> Callable[[], None]:
    """A call that does a step of training or a pass of inference, and returns when the device has done it.

    Training is the loop's own step (`TrainingStep`); inference is `model(images)` in evaluation mode without gradients.
    The batch is on the device already.

    Raises:
        UserError: there is no such model.
    """
    model = create_form(name, setting.num_classes)
    images, target = random_batch(case.batch_size, case.image_size, setting.num_classes, replica.device)
    if setting.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # is missing in its annotation
        images = images.contiguous(memory_format=torch.channels_last)
    if setting.compiled:
        compile_forwards(model)
    if case.mode == 'training':
        step = TrainingStep(model, replica, setting.amp_dtype)

        def call() -> None:
            step(images, target)
            replica.wait()
    else:
        replica.place(model.eval())
        # XLA's tensors cannot be those of inference mode
        without_gradients = torch.no_grad if setting.device == 'xla' else torch.inference_mode

        def call() -> None:
            with without_gradients(), replica.autocast(setting.amp_dtype):
                logits = model(images)
                replica.wait()  # while the logits are there: XLA computes what is still wanted
            del logits
    return call


def compile_forwards(model: nn.Module) -> None:
    """Compiles, in place, what training and inference call: of a coded model `forward_energies` too."""
    for name in ('forward', 'forward_energies'):
        if hasattr(model, name):
            setattr(model, name, torch.compile(getattr(model, name)))
