"""What is trained and how: model, losses, optimizer and schedule from the arguments, by timm's factories."""
import argparse
import difflib
import os
from typing import Any

import timm
import torch
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2, get_optimizer_info, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.utils import ModelEmaV3
from torch import nn

from timm_coded.loss import CodingLoss
from timm_coded.models import coded_blocks

from .data.mixing import is_mixed
from .data.samples import IGNORED
from .errors import NotCodedError, UserError

CODED_MODEL_FLAGS = ('drop_subnn', 'scheme_source', 'num_active', 'energy_norm', 'drop_per_block')
CODED_LOSS_FLAGS = {'mu': 'mu', 'coding_exponent': 'exponent', 'coding_threshold': 'threshold', 'mask_grads': ''}


def create_model(args: argparse.Namespace, initial_checkpoint: str = '') -> nn.Module:
    """The model on the CPU, with the weights of `initial_checkpoint` if it is not empty.

    Raises:
        UserError: there is no such model or checkpoint, the two do not fit together, or a model without coded blocks is
            given a flag that is for coded ones.
    """
    coded = {flag: getattr(args, flag) for flag in CODED_MODEL_FLAGS if getattr(args, flag) is not None}
    given = [flag for flag in (*CODED_LOSS_FLAGS, *coded) if getattr(args, flag) is not None]
    given = [f'--{"no-" * (getattr(args, flag) is False)}{flag.replace("_", "-")}' for flag in given]
    not_coded = NotCodedError(f'--model {args.model} has no coded blocks: leave out {", ".join(given)}, or take a '
                              f'coded model ({", ".join(timm.list_models("coded_*"))})')
    if initial_checkpoint and not os.path.isfile(initial_checkpoint):
        raise UserError(f'there is no --initial-checkpoint {initial_checkpoint}')
    check_model_name(args.model)
    try:
        model = timm.create_model(
            args.model,
            num_classes=args.num_classes,
            checkpoint_path=initial_checkpoint,
            **coded,
            **args.model_kwargs,
        )
    except TypeError as error:
        if any(flag in str(error) for flag in coded):
            raise not_coded from error
        raise UserError(f'--model {args.model} does not take --model-kwargs {args.model_kwargs}: {error}') from error
    except Exception as error:  # whatever the constructor or the file's reader stumbles over
        source = f' with --initial-checkpoint {initial_checkpoint}' if initial_checkpoint else ''
        raise UserError(f'cannot make {args.model}{source}: {describe_error(error)}') from error
    if given and not coded_blocks(model):
        raise not_coded
    if args.grad_checkpointing:
        model.set_grad_checkpointing(True)  # type: ignore[operator]  # as all of timm's models have it
    return model


def check_model_name(name: str) -> None:
    """Raises UserError: timm's registry has no such model; a name like 'hf-hub:...' is left to timm."""
    source, colon, _ = name.partition(':')
    if timm.is_model(source) and colon:
        raise UserError(f'there is no --model {name}: give {source}, and its arguments by --model-kwargs')
    if not colon and not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UserError(f'there is no --model {name}' + (f'; did you mean {" or ".join(near)}?' if near else ''))


@torch.no_grad()
def check_model(args: argparse.Namespace, model: nn.Module, config: dict[str, Any]) -> None:
    """Runs the model on two black images of each size on the CPU, before anything is compiled or written.

    Raises:
        UserError: it cannot take such images, or gives something else than [2, num_classes] logits.
    """
    channels, size, _ = config['input_size']
    if channels != 3:
        raise UserError(f'--model {args.model} takes images of {channels} channels; they are read with 3, as RGB')
    model.eval()
    for pixels in sorted({size, args.eval_img_size or size}):
        try:
            logits = model(torch.zeros(2, 3, pixels, pixels))
        except Exception as error:  # whatever a layer stumbles over
            raise UserError(f'--model {args.model} with --model-kwargs {args.model_kwargs} fails on images of {pixels} '
                            f'pixels: {describe_error(error)}') from error
        if not isinstance(logits, torch.Tensor) or logits.shape != (2, args.num_classes):
            found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise UserError(f'--model {args.model} with --model-kwargs {args.model_kwargs} gives {found} for 2 images, '
                            f'not logits [2, {args.num_classes}]')


def describe_error(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


def create_criteria(args: argparse.Namespace, model: nn.Module) -> tuple[CodingLoss, CodingLoss]:
    """The losses of training (with label smoothing, or for the soft targets of mixup) and of evaluation.

    Raises:
        UserError: an option of the coding loss is out of its range, or does not go with mixup.
    """
    plain = nn.CrossEntropyLoss(ignore_index=IGNORED)
    if is_mixed(args):  # its targets are smoothed already
        if args.mask_grads:
            raise UserError('--mask-grads needs one class for each image: leave out --mixup and --cutmix')
        training: nn.Module = SoftTargetCrossEntropy()
    else:
        training = nn.CrossEntropyLoss(ignore_index=IGNORED, label_smoothing=args.smoothing)
    options = {name: getattr(args, flag) for flag, name in CODED_LOSS_FLAGS.items() if name}
    options = {name: value for name, value in options.items() if value is not None}
    return CodingLoss(training, model, **options), CodingLoss(plain, model, **options)


def create_optimizer(args: argparse.Namespace, model: nn.Module) -> torch.optim.Optimizer:
    """timm's optimizer; the momentum of SGD starts as zeros, which is what PyTorch's own first step amounts to.

    So the first step's graph is all steps' graph, and XLA compiles one instead of two, as it does for optimizers that
    make their state in the first step.
    """
    try:
        if args.opt_eps is not None and not get_optimizer_info(args.opt).has_eps:
            raise UserError(f'--opt {args.opt} has no epsilon: leave out --opt-eps')
        optimizer = create_optimizer_v2(model, **optimizer_kwargs(args))
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f'cannot make the optimizer --opt {args.opt}: {error or type(error).__name__}') from error
    if getattr(optimizer, 'is_second_order', False):
        raise UserError(f'--opt {args.opt} needs second derivatives, which the loop does not make; take another')
    if isinstance(optimizer, torch.optim.SGD):
        start_momentum(optimizer)
    return optimizer


def start_momentum(optimizer: torch.optim.SGD) -> None:
    """Gives SGD its momentum, of zeros made on the host, before its first step does."""
    for group in optimizer.param_groups:
        for parameter in group['params'] if group['momentum'] else ():
            optimizer.state[parameter]['momentum_buffer'] = torch.zeros(parameter.shape).to(parameter)


def create_ema(args: argparse.Namespace, model: nn.Module) -> ModelEmaV3 | None:
    """The moving average of the model, still on the CPU like the model; None without `--model-ema`."""
    if not args.model_ema:
        return None
    return MovingAverage(model, decay=args.model_ema_decay, use_warmup=args.model_ema_warmup, foreach=False)


class MovingAverage(ModelEmaV3):
    """timm's, whose first update has a weight of 1: on XLA a constant, and so a graph of its own for the first step."""

    def get_decay(self, step: int | None = None) -> float:
        return super().get_decay(step) or 2 ** -26  # too little to make a difference in float32


class Schedule:
    """timm's learning-rate schedule by epoch; it depends on the epoch alone, so that a resumed run needs no state.

    Attributes:
        epochs: of the run, warm-up and cool-down included.
    """

    def __init__(self, args: argparse.Namespace, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer
        self.scheduler, self.epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args))

    def set_epoch(self, epoch: int) -> float:
        """Sets the epoch's learning rate, and returns it.

        In XLA's graph the rate is an input, but 0 and 1 are constants, and equal numbers (0.5 is there already) are one
        input: an epoch at such a rate would be compiled anew. So every rate is moved by about as little as float32 can
        tell.
        """
        self.scheduler.step(epoch)
        lr = self.optimizer.param_groups[0]['lr']
        for group in self.optimizer.param_groups:
            group['lr'] = group['lr'] * (1 + 2 ** -22) + 1e-12
        return lr
