"""`--doctor`: looks at versions, devices, the training step and the loader, and says what to expect of a run."""
import argparse
import os
import shutil
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from timm_coded.models import pack_grouped_convs

from . import replicas
from .build import Schedule, check_model, create_criteria, create_model, create_optimizer
from .data import class_names, open_datasets
from .diagnosis import Report, describe_loader, describe_machine, describe_outlook, describe_step
from .engine import train_epoch
from .errors import UserError
from .images import create_augment, create_training_batches, data_config
from .loader import Batches
from .replicas import Replica
from .run import XLA_LANES, check_num_classes
from .sampler import accumulation_steps
from .speed import RandomBatches, StepSpeed, Stopwatch, measure_loader
from .versions import installed_versions, libtpu_of_xla, mismatches


def doctor(args: argparse.Namespace, say: Callable[[str], None] = print) -> Report:
    """Looks at what `args` would run on, a few steps of it, and says so on the first replica.

    Raises:
        UserError: the run could not even start.
    """
    versions = installed_versions()
    wrong = mismatches(versions, libtpu_of_xla())
    try:
        parts = prepare(args)
    except ImportError as error:  # a library that is built for another one
        raise UserError('; '.join(wrong) or f'cannot import what the run needs: {error}') from error
    replica = parts.replica
    shared = '/dev/shm'
    report = Report(
        versions=versions,
        mismatches=wrong,
        device=replica.name,
        pjrt_device=os.environ.get('PJRT_DEVICE'),
        device_count=replica.device_count(),
        replicas=replica.world,
        local_replicas=min(args.replicas or replica.world, replica.world),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        memory=os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2 ** 30,
        shared_memory=shutil.disk_usage(shared).free / 2 ** 30 if os.path.isdir(shared) else None,
        model=args.model,
        parameters=sum(parameter.numel() for parameter in parts.model.parameters()),
        img_size=parts.img_size,
        batch_size=args.batch_size,
        micro_batches=len(parts.random_batches),
        amp_dtype=args.amp_dtype if args.amp else None,
        lanes=parts.lanes,
        step=None,
        loader=None,
        workers=None if parts.batches is None else args.workers,
        train_images=parts.train_images,
        epochs=parts.epochs,
    )

    def tell(lines: list[str]) -> None:
        if replica.rank == 0:
            say('\n'.join(lines))

    tell(describe_machine(report))
    report.step = measure_training(parts, args.batch_size)
    tell(describe_step(report))
    if parts.batches is not None:
        report.loader = measure_loader(parts.batches, args.batch_size)
    tell(describe_loader(report))
    tell(describe_outlook(report))
    return report


@dataclass
class Parts:
    """What is measured, and what is told of it.

    Attributes:
        train: trains on batches, under a stopwatch.
        random_batches: the micro-batches of one step, of random images.
        batches: the real ones; None without a data set, and so is `train_images`.
    """
    replica: Replica
    model: torch.nn.Module
    lanes: int
    train: Callable[[RandomBatches, Stopwatch], None]
    random_batches: list[list[torch.Tensor]]
    batches: Batches | None
    train_images: int | None
    img_size: int
    epochs: int


def prepare(args: argparse.Namespace) -> Parts:
    """Makes what `run` would make of `args`, with its own functions."""
    if args.eval_only:
        raise UserError('--doctor looks at training: leave out --eval-only')
    dataset = None
    if args.data_dir or args.dataset:
        dataset, validation_set = open_datasets(args)
        args.num_classes = check_num_classes(args.num_classes, class_names(validation_set))
    replica = replicas.create(args.device)
    replica.seed(args.seed)
    model = create_model(args)
    args.num_classes = args.num_classes or model.num_classes
    config = data_config(args, model)
    accumulation = accumulation_steps(args.global_batch_size, args.batch_size, replica.world)
    batches = create_training_batches(args, dataset, config, replica, accumulation) if dataset else None
    noise = Noise(args.batch_size * accumulation * replica.world, args.num_classes, config['input_size'][-1])
    alone = argparse.Namespace(**{**vars(args), 'workers': 0})
    random_batches = list(create_training_batches(alone, noise, config, replica, accumulation))
    check_model(args, model, config)
    lanes = args.pack_lanes if args.pack_lanes is not None else XLA_LANES * (replica.device.type == 'xla')
    if lanes:
        pack_grouped_convs(model, lanes)
    replica.place(model)
    criterion, _ = create_criteria(args, model)
    augment = create_augment(args, config, replica)
    optimizer = create_optimizer(args, model)
    schedule = Schedule(args, optimizer)
    schedule.set_epoch(0)

    def train(some_batches: RandomBatches, stopwatch: Stopwatch) -> None:
        train_epoch(
            model, criterion, optimizer, augment, some_batches, replica, stopwatch,
            amp_dtype=getattr(torch, args.amp_dtype) if args.amp else None,
            clip_grad=args.clip_grad, clip_mode=args.clip_mode,
        )

    return Parts(replica, model, lanes, train, random_batches, batches, dataset and len(dataset),
                 config['input_size'][-1], schedule.epochs)


def measure_training(parts: Parts, batch_size: int) -> StepSpeed:
    """Raises `UserError` if the step needs more memory than the device has."""
    micro_batches = len(parts.random_batches)
    stopwatch = Stopwatch(parts.replica, micro_batches)
    try:
        parts.train(RandomBatches(parts.random_batches), stopwatch)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        raise UserError(f'--batch-size {batch_size} needs more memory than the device has: halve it '
                        '(--global-batch-size keeps the images of a step), or take --amp') from error
    return stopwatch.speed(batch_size * micro_batches)


class Noise(Dataset):
    """Images of random pixels, for as many classes as there are.

    Args:
        length: number of images.
        num_classes: number of classes.
        size: of an image, in pixels.
    """

    def __init__(self, length: int, num_classes: int, size: int):
        self.length = length
        self.num_classes = num_classes
        self.pixels = np.random.default_rng(0).integers(256, size=(size, size, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(np.roll(self.pixels, index)), index % self.num_classes
