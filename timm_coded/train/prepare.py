"""All that training, evaluation and the doctor are made of, built and checked before anything compiles."""
import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.utils import random_seed
from torch import nn

from timm_coded.loss import CodingLoss
from timm_coded.models import pack_grouped_convs, round_batch_norms

from . import replicas
from .build import check_model, create_criteria, create_model
from .data import class_names, open_datasets
from .data.images import create_augment, create_evaluation_batches, create_training_batches, data_config
from .data.loader import Batches
from .data.sampler import accumulation_steps
from .data.unreadable import Unreadable
from .device_augment import DeviceAugment
from .errors import UserError
from .replicas import Replica
from .resume import check_agreement, check_recipe, restore_model

XLA_LANES = 128  # of a TPU; XLA's compiler for the CPU gains even more

Found = tuple[Path, dict[str, Any], list[str]]  # a checkpoint, what it holds, and why newer ones were passed over


@dataclass
class Parts:
    """What `prepare` builds.

    Attributes:
        model: on the CPU, packed; a checkpoint's weights are in it.
        config: of the images, timm's data config.
        lanes: that grouped convolutions are packed to, 0 for none.
        steps: of an epoch.
        accumulation: micro-batches of a step.
        common_eval_batches: how many batches every replica has to evaluate; some may have one more.
        train_images, eval_images: how many the data set has; with `--eval-only` 0 to train.
        notes: what the user should know of the checkpoint.
    """
    replica: Replica
    model: nn.Module
    config: dict[str, Any]
    lanes: int
    criterion: CodingLoss
    eval_criterion: CodingLoss
    augment: DeviceAugment
    amp_dtype: torch.dtype | None
    train_batches: Batches | None
    eval_batches: Batches
    steps: int
    accumulation: int
    common_eval_batches: int
    train_images: int
    eval_images: int
    notes: list[str]


def prepare(args: argparse.Namespace, found: Found | None = None) -> Parts:
    """Builds a replica's parts; puts what was found out (`num_classes`, `global_batch_size`) into `args`.

    Raises:
        UserError: something that the user can put right.
    """
    if args.synthetic and args.num_classes is None and timm.is_model(args.model):
        args.num_classes = timm.get_pretrained_cfg_value(args.model, 'num_classes')  # the model's own
    replica = replicas.create(args.device, args.xla_cache)
    train_set, validation_set = open_datasets(args, replica.world)
    args.num_classes = check_num_classes(args.num_classes, class_names(validation_set))
    if args.grad_checkpointing and replica.device.type == 'xla':
        raise UserError("--grad-checkpointing: PyTorch's checkpointing does not work on XLA devices; leave it out")
    if replica.name == 'XLA:TPU' and replica.world > 1 and not args.workers:
        raise UserError('--workers 0: on a TPU of several cores two of them may share a process and its random '
                        'numbers; take 1 or more')
    accumulation = accumulation_steps(args.global_batch_size, args.batch_size, replica.world)
    args.global_batch_size = accumulation * args.batch_size * replica.world
    path, state, notes = found or (Path(), {}, [])
    with replicas.one_thread:
        random_seed(args.seed)  # the same on all replicas
        model = create_model(args, '' if state else args.initial_checkpoint)
    check_agreement(replica, state or None)
    if state:
        differences = check_recipe(state, args, model, path)
        notes = [*notes, *(f'--override-resume: {difference}' for difference in differences)]
        missing = restore_model(model, state['state_dict'], path, bool(differences))
        notes += [f'--override-resume: {name} starts anew' for name in missing]
    config = data_config(args, model)
    unreadable = Unreadable(args.skip_corrupt)
    eval_batches = create_evaluation_batches(args, validation_set, config, replica, unreadable)
    train_batches, steps = None, 0
    if train_set is not None:  # not with --eval-only
        train_batches = create_training_batches(args, train_set, config, replica, accumulation, unreadable)
        steps = len(train_batches) // accumulation
    check_model(args, model, config)
    criterion, eval_criterion = create_criteria(args, model)
    lanes = args.pack_lanes if args.pack_lanes is not None else XLA_LANES * (replica.device.type == 'xla')
    if lanes:
        pack_grouped_convs(model, lanes)
    if replica.device.type == 'xla':
        round_batch_norms(model)
    return Parts(
        replica=replica,
        model=model,
        config=config,
        lanes=lanes,
        criterion=criterion,
        eval_criterion=eval_criterion,
        augment=create_augment(args, config, replica),
        amp_dtype=getattr(torch, args.amp_dtype) if args.amp else None,
        train_batches=train_batches,
        eval_batches=eval_batches,
        steps=steps,
        accumulation=accumulation,
        common_eval_batches=math.ceil(
            len(validation_set) // replica.world / (args.validation_batch_size or args.batch_size)),
        train_images=len(train_set) if train_set is not None else 0,
        eval_images=len(validation_set),
        notes=notes,
    )


def check_num_classes(num_classes: int | None, names: list[Any]) -> int:
    """`--num-classes`, or as many as the data set has."""
    if num_classes is None and not names:
        raise UserError('the data set does not tell how many classes it has: give --num-classes')
    if num_classes is not None and num_classes < len(names):
        raise UserError(f'--num-classes {num_classes} is fewer than the {len(names)} classes of the data set')
    return num_classes or len(names)
