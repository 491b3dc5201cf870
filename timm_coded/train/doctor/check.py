"""`--doctor`: looks at versions, devices, the training step and the loader, and says what to expect of a run."""
import argparse
import os
import shutil
from typing import Callable

import torch

from ..data.images import create_training_batches
from ..data.synthetic import Synthetic
from ..engine import Training, train_epoch
from ..errors import UserError
from ..finite import FiniteWatch
from ..prepare import Parts, prepare
from ..session import create_training
from ..sums import Sums
from .report import Report, describe_loader, describe_machine, describe_outlook, describe_step
from .speed import RandomBatches, StepSpeed, Stopwatch, measure_loader
from .versions import installed_versions, libtpu_of_xla, mismatches


def doctor(args: argparse.Namespace, stop: Callable[[], str] = lambda: '') -> Report:
    """Looks at what `args` would run on, a few steps of it, and says so on the first replica; all replicas call it.

    Args:
        stop: not asked: it takes minutes at most.

    Raises:
        UserError: the run could not even start, or it is not healthy.
    """
    if args.eval_only:
        raise UserError('--doctor looks at training: leave out --eval-only')
    real = bool(args.data_dir or args.dataset)
    args = argparse.Namespace(**{**vars(args), 'synthetic': not real})
    parts = prepare(args)
    replica, shared = parts.replica, '/dev/shm'
    training, schedule = create_training(args, parts)
    schedule.set_epoch(0)
    report = Report(
        versions=installed_versions(),
        mismatches=mismatches(installed_versions(), libtpu_of_xla()),
        device=replica.name,
        device_count=replica.device_count(),
        replicas=replica.world,
        local_replicas=min(args.replicas or replica.world, replica.world),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1,
        memory=os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2 ** 30,
        shared_memory=shutil.disk_usage(shared).free / 2 ** 30 if os.path.isdir(shared) else None,
        model=args.model,
        parameters=sum(parameter.numel() for parameter in parts.model.parameters()),
        img_size=parts.config['input_size'][-1],
        batch_size=args.batch_size,
        micro_batches=parts.accumulation,
        amp_dtype=args.amp_dtype if args.amp else None,
        lanes=parts.lanes,
        step=None,  # type: ignore[arg-type]  # measured below
        loader=None,
        workers=args.workers if real else 0,
        train_images=parts.train_images if real else 0,
        epochs=schedule.epochs,
    )

    def tell(lines: list[str]) -> None:
        if replica.rank == 0:
            print('\n'.join(lines), flush=True)

    tell(describe_machine(report))
    report.step = measure_training(training, random_batches(args, parts))
    tell(describe_step(report))
    if real and parts.train_batches is not None:
        report.loader = measure_loader(parts.train_batches, args.batch_size)
    tell(describe_loader(report))
    tell(describe_outlook(report))
    if report.problems:
        raise UserError(f'the run would not be healthy: {"; ".join(report.problems)}')
    return report


def random_batches(args: argparse.Namespace, parts: Parts) -> list[list[torch.Tensor]]:
    """The micro-batches of one step, of random images in the run's shapes."""
    noise = Synthetic(args.global_batch_size, args.num_classes)
    alone = argparse.Namespace(**{**vars(args), 'workers': 0, 'fast_decode': False})
    return list(create_training_batches(alone, noise, parts.config, parts.replica, parts.accumulation))


def measure_training(training: Training, batches: list[list[torch.Tensor]]) -> StepSpeed:
    """Trains on the micro-batches of one step again and again.

    Raises:
        UserError: the step needs more memory than the device has.
    """
    stopwatch = Stopwatch(training.replica)
    sums = Sums(training.metrics(), training.replica)
    finite = FiniteWatch(training.terms(), training.replica.device)
    batch_size = len(batches[0][0])
    try:
        train_epoch(training, RandomBatches(batches), stopwatch, sums, finite)  # type: ignore[arg-type]  # stand-ins
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        raise UserError(f'--batch-size {batch_size} needs more memory than the device has: halve it '
                        '(--global-batch-size keeps the images of a step), or take --amp') from error
    return stopwatch.speed(batch_size * len(batches))
