"""One epoch of training and one evaluation: plain functions, with no word of the device they run on."""
from dataclasses import dataclass
from typing import Any, Callable, Iterator, cast

import torch
from timm.models import model_parameters
from timm.utils import ModelEmaV3, dispatch_clip_grad
from torch import Tensor, nn

from timm_coded.loss import CodingLoss
from timm_coded.models import CodedResNet, coded_blocks, early_decode

from .data.loader import Batches
from .device_augment import DeviceAugment
from .finite import FiniteWatch
from .local_state import running_statistics
from .progress import Progress
from .replay import Replay
from .replicas import Replica
from .sums import Sums


@dataclass
class Training:
    """What a training step is made of.

    Attributes:
        model: a coded model or any other of timm's.
        accumulation: micro-batches of a step.
        amp_dtype: of mixed precision, if any.
        clip_grad: if any, the gradients are clipped to it, in timm's way named by `clip_mode`.
        mask_grads: whether a coded model's gradients stop before a class's inactive subNNs.
        ema: the moving average of the model, if any.
        replay: whether steps may be run by their recorded graphs, where there are such.
    """
    model: nn.Module
    criterion: CodingLoss
    optimizer: torch.optim.Optimizer
    augment: Callable[..., Tensor]
    replica: Replica
    accumulation: int = 1
    amp_dtype: torch.dtype | None = None
    clip_grad: float | None = None
    clip_mode: str = 'norm'
    mask_grads: bool = False
    ema: ModelEmaV3 | None = None
    seed: int = 0
    replay: bool = True

    def __post_init__(self) -> None:
        if self.accumulation > 1:  # gradients that are always there make one graph of all micro-batches but the last
            for parameter in filter(lambda parameter: parameter.requires_grad, self.model.parameters()):
                parameter.grad = torch.zeros(parameter.shape, dtype=parameter.dtype).to(parameter.device)
            self.replica.end_step()

    def metrics(self) -> list[str]:
        return ['loss', 'coding_loss'] if coded_blocks(self.model) else ['loss']

    def terms(self) -> list[str]:
        """Of the loss: 'class' and the coded blocks."""
        return ['class', *coded_blocks(self.model)]

    def models(self) -> list[nn.Module]:
        return [self.model] if self.ema is None else [self.model, self.ema.module]


def train_epoch(
        training: Training,
        batches: Batches,
        progress: Progress,
        sums: Sums,
        finite: FiniteWatch,
        epoch: int = 0,
        first_step: int = 0,
        after_step: Callable[[int], None] = lambda step: None,
        profile: Callable[[Iterator[Any]], Iterator[Any]] = iter,
) -> None:
    """Trains on an epoch's batches once; nothing in a step waits for the device.

    Every micro-batch draws its random numbers from (seed, epoch, micro-batch, replica), so that a resumed epoch draws
    what it would have drawn. At the end all replicas have the mean of their BatchNorm statistics.

    Args:
        batches: the micro-batches from `first_step` on.
        sums: gets `training.metrics()`, summed.
        finite: gets `training.terms()`.
        epoch: from 0.
        first_step: steps of the epoch that came before.
        after_step: called after each step, with the number of steps that the epoch has had.
        profile: passes the steps on, and may look at them.
    """
    replica, model = training.replica, training.model
    model.train()
    micro_batches = grouped(replica.send(batches), training.accumulation)
    steps = first_step + len(batches) // training.accumulation
    replay = Replay(training, sums, finite)
    for step, group in enumerate(profile(progress.training(micro_batches, sums, first_step)), first_step):
        count = epoch * steps + step + 1
        for micro, batch in enumerate(group):
            replica.seed(training.seed, 1 + epoch, 1 + step, micro)
            if micro + 1 < len(group):
                replay.run(lambda: backward(training, batch, sums, finite), batch, updates=False)
            else:
                decay = training.ema.get_decay(count) if training.ema is not None else None
                replay.run(lambda: move(training, batch, sums, finite, count), batch, True, decay)
            replica.end_step()
        after_step(step + 1)
    replica.peers.average(running_statistics(*training.models()))
    replica.end_step()


def move(training: Training, batch: list[Tensor], sums: Sums, finite: FiniteWatch, steps: int) -> None:
    """A step's last micro-batch and its update; `steps` of the run, this included."""
    backward(training, batch, sums, finite)
    update(training, steps)


def backward(training: Training, batch: list[Tensor], sums: Sums, finite: FiniteWatch) -> None:
    """Adds a micro-batch's gradients to the model's, and its metrics to the sums."""
    forward(training, batch).backward()
    add_metrics(training, batch, sums, finite)


def forward(training: Training, batch: list[Tensor]) -> Tensor:
    """The loss of a micro-batch, as its part of the step's."""
    model, criterion = cast(CodedResNet, training.model), training.criterion  # or a stock one
    images, target, *boxes = batch
    with training.replica.autocast(training.amp_dtype):
        images = training.augment(images, *boxes)
        if training.mask_grads:
            output = model.forward_energies(images, learn=model.class_masks(target))
        else:
            output = model.forward_energies(images) if coded_blocks(model) else model(images)
        loss = criterion(output, target)
    return loss / training.accumulation if training.accumulation > 1 else loss


def add_metrics(training: Training, batch: list[Tensor], sums: Sums, finite: FiniteWatch) -> None:
    """Adds the last micro-batch's losses to the sums, and looks whether they are finite."""
    criterion = training.criterion
    count = count_images(batch[1])
    sums.add(count, loss_sums(criterion, count))
    finite.add([criterion.parts[term] for term in finite.terms])


def update(training: Training, steps: int) -> None:
    """Moves the model by its gradients, averaged over the replicas, and clears them; `steps` of the run, this included.
    """
    model = training.model
    training.replica.peers.average([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    if training.clip_grad is not None:
        exclude_head = training.clip_mode == 'agc'
        dispatch_clip_grad(model_parameters(model, exclude_head), training.clip_grad, mode=training.clip_mode)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=training.accumulation == 1)
    if training.ema is not None:
        training.ema.update(model, step=steps)


@torch.no_grad()
def evaluate(
        model: nn.Module,
        criterion: CodingLoss,
        augment: DeviceAugment,
        batches: Batches,
        replica: Replica,
        progress: Progress,
        amp_dtype: torch.dtype | None = None,
        after_step: Callable[[int], None] = lambda step: None,
) -> dict[str, float]:
    """Evaluates on all replicas' images, each counted once whatever the batch size: targets of -1 do not count.

    Args:
        after_step: called after each batch, with its number from 1.

    Returns:
        Means over the images: 'loss' (of the class), 'top1' and 'top5' in percent. Of a coded model also 'coding_loss'
        (sum over its blocks), and for each coded block 'coding_loss_<block>' and 'decoder_<block>', the top-1 of its
        early decoder in percent.
    """
    model.eval()
    blocks = coded_blocks(model)
    coded = cast(CodedResNet, model)  # where there are blocks
    forward = coded.forward_energies if blocks else model
    decoders = [f'decoder_{block}' for block in blocks]
    coding = ['coding_loss', *(f'coding_loss_{block}' for block in blocks)] if blocks else []
    sums = Sums(['loss', 'top1', 'top5', *coding, *decoders], replica)
    for step, (images, target) in enumerate(progress.evaluation(replica.send(batches), len(batches)), 1):
        with replica.autocast(amp_dtype):
            output = forward(augment(images))
            criterion(output, target)
        logits, energies = output if blocks else (output, [])
        count = count_images(target)
        hits = top_hits(logits, target)
        for block, decoder, energy in zip(blocks, decoders, energies):
            hits[decoder] = (early_decode(energy, coded.codewords(block)) == target).sum()
        sums.add(count, {**loss_sums(criterion, count), **hits})
        replica.end_step()
        after_step(step)
    means = sums.means()
    rates = {'top1', 'top5', *decoders}
    return {name: 100 * mean if name in rates else mean for name, mean in means.items()}


def grouped(batches: Iterator[list[Tensor]], count: int) -> Iterator[tuple[list[Tensor], ...]]:
    """Groups of `count` batches in sequence."""
    batches = iter(batches)
    return zip(*[batches] * count)


def count_images(target: Tensor) -> Tensor:
    """How many of a batch's targets, classes [B] or soft ones [B, K], do count: all but -1."""
    return ((target if target.ndim == 1 else target[:, 0]) >= 0).sum()


def loss_sums(criterion: CodingLoss, count: Tensor) -> dict[str, Tensor]:
    """The last call's losses, summed over its `count` images."""
    parts = dict(criterion.parts)
    sums = {'loss': parts.pop('class') * count}
    if parts:
        sums['coding_loss'] = sum(parts.values()) * count
        sums |= {f'coding_loss_{block}': part * count for block, part in parts.items()}
    return sums


def top_hits(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """How many targets [B] are the highest, and among the five highest, of the logits [B, K]; -1 never is."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == target[:, None]
    return {'top1': hits[:, 0].sum(), 'top5': hits.sum()}
