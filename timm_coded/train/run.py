"""A run from its arguments to its last line: builds everything, then trains and evaluates epoch by epoch."""
import argparse
import math
import shlex
import time

import torch
from timm.utils import trim_summary, update_summary

from timm_coded.models import pack_grouped_convs

from . import checkpoint, replicas
from .args import write_args
from .build import Schedule, check_model, create_criteria, create_model, create_optimizer
from .compile_watch import graphs
from .data import class_names, open_datasets
from .engine import evaluate, train_epoch
from .errors import UserError
from .images import create_augment, create_evaluation_batches, create_training_batches, data_config
from .progress import Progress, duration
from .sampler import accumulation_steps
from .run_folder import find_checkpoint, open_folder

XLA_LANES = 128  # of a TPU; XLA's compiler for the CPU gains even more


def run(args: argparse.Namespace) -> None:
    """Trains and evaluates as `args` say, or with `--eval-only` only evaluates.

    Raises:
        UserError: something that the user can put right.
    """
    started = time.perf_counter()
    resumed = find_checkpoint(args)
    if args.eval_only and not resumed and not args.initial_checkpoint:
        raise UserError('--eval-only: evaluate what? Give --resume or --initial-checkpoint')
    train_set, validation_set = open_datasets(args)
    args.num_classes = check_num_classes(args.num_classes, class_names(validation_set))
    replica = replicas.create(args.device)
    if args.grad_checkpointing and replica.device.type == 'xla':
        raise UserError("--grad-checkpointing: PyTorch's checkpointing does not work on XLA devices; leave it out")
    replica.seed(args.seed)
    model = create_model(args, '' if resumed else args.initial_checkpoint)
    state = None
    if resumed:
        state = checkpoint.load(resumed)
        checkpoint.check_same_model(state, args, resumed)
        checkpoint.restore_model(model, state, resumed)
    config = data_config(args, model)
    eval_batches = create_evaluation_batches(args, validation_set, config, replica)
    accumulation = accumulation_steps(args.global_batch_size, args.batch_size, replica.world)
    train_batches = None
    if not args.eval_only:
        train_batches = create_training_batches(args, train_set, config, replica, accumulation)
    check_model(args, model, config)

    lanes = args.pack_lanes if args.pack_lanes is not None else XLA_LANES * (replica.device.type == 'xla')
    if lanes:
        pack_grouped_convs(model, lanes)
    replica.place(model)
    criterion, eval_criterion = create_criteria(args, model)
    augment = create_augment(args, config, replica)
    amp_dtype = getattr(torch, args.amp_dtype) if args.amp else None

    if args.eval_only:
        progress = Progress(replica, 0, 0, args.batch_size, args.log_interval)
        progress.say(f'{args.model} on {replica.name}: {len(validation_set)} images to validate')
        metrics = evaluate(model, eval_criterion, augment, eval_batches, replica, progress, amp_dtype)
        progress.say(describe(metrics))
        return

    optimizer = create_optimizer(args, model)
    schedule = Schedule(args, optimizer)
    progress = Progress(replica, schedule.epochs, len(train_batches), args.batch_size, args.log_interval)
    progress.say(f'{args.model} on {replica.name}: {len(train_set)} images to train, {len(validation_set)} to '
                 f'validate, {args.num_classes} classes')
    folder = open_folder(args, resumed, config['input_size'][-1])
    checkpoints = checkpoint.Checkpoints(folder, args.checkpoint_hist)
    first_epoch = 0
    if state:
        checkpoint.restore_optimizer(optimizer, args.opt, state, resumed)
        checkpoints.go_on_from(state, resumed)
        first_epoch = state['epoch'] + 1
        progress.say(f'resumed after epoch {state["epoch"]} from {resumed}')
    write_args(args, folder)
    summary = folder / 'summary.csv'
    trim_summary(summary, first_epoch)

    for epoch in range(first_epoch, schedule.epochs):
        lr = schedule.set_epoch(epoch)
        train_batches.set_epoch(epoch)
        progress.epoch = epoch
        replica.seed(args.seed, epoch)  # so that a resumed epoch draws what it would have drawn
        train_metrics = train_epoch(
            model, criterion, optimizer, augment, train_batches, replica, progress,
            amp_dtype=amp_dtype, clip_grad=args.clip_grad, clip_mode=args.clip_mode,
        )
        check_finite(epoch, train_metrics)
        metrics = evaluate(model, eval_criterion, augment, eval_batches, replica, progress, amp_dtype)
        update_summary(epoch, train_metrics, metrics, summary, lr=lr, write_header=not summary.exists())
        checkpoints.save(epoch, metrics, model, optimizer, args)
        progress.say(f'epoch {epoch}: {describe(metrics)}')

    best = checkpoints.best
    count, compiling = replica.compiles()
    path = folder / checkpoint.BEST
    progress.say(f'best epoch {best["epoch"]}: {describe(best)}')
    progress.say(f'took {duration(time.perf_counter() - started)}'
                 + (f', {duration(compiling)} of it to compile {graphs(count)}' if count else ''))
    progress.say(f'checkpoint: {path}')
    config_file = shlex.quote(str(folder / 'args.yaml'))
    progress.say(f'next: python train_xla.py --config {config_file} --eval-only --resume {shlex.quote(str(path))}')


def check_num_classes(num_classes: int | None, names: list) -> int:
    """`--num-classes`, or as many as the data set has."""
    if num_classes is None and not names:
        raise UserError('the data set does not tell how many classes it has: give --num-classes')
    if num_classes is not None and num_classes < len(names):
        raise UserError(f'--num-classes {num_classes} is fewer than the {len(names)} classes of the data set')
    return num_classes or len(names)


def check_finite(epoch: int, metrics: dict[str, float]) -> None:
    """Raises `UserError` after an epoch whose losses are not finite: what follows would not be either."""
    broken = [name.replace('_', ' ') for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise UserError(f'the {" and the ".join(broken)} of epoch {epoch} is not finite; the checkpoints of the epochs '
                        'before it are kept: go on from one of them with a lower --lr or --mu, or with --clip-grad')


def describe(metrics: dict[str, float]) -> str:
    """An evaluation in one line: 'top-1 98.5 %, ..., early decoders: layer2.0 97.9 %, layer3.0 98.2 %'."""
    parts = [f'top-1 {metrics["top1"]:.2f} %', f'top-5 {metrics["top5"]:.2f} %', f'loss {metrics["loss"]:.4f}']
    if 'coding_loss' in metrics:
        parts.append(f'coding loss {metrics["coding_loss"]:.4f}')
    decoders = [f'{name[len("decoder_"):]} {metrics[name]:.2f} %' for name in metrics if name.startswith('decoder_')]
    return ', '.join(parts) + (f'; early decoders: {", ".join(decoders)}' if decoders else '')
