"""A session of training: from a fresh model or a checkpoint, epoch by epoch, to the end or to where it has to stop."""
import argparse
import math
import shlex
from typing import Any, Callable

import torch
from torch import Tensor

from .args import write_args
from .build import Schedule, create_criteria, create_ema, create_optimizer
from .checkpoint import Checkpoints
from .engine import Training, evaluate, train_epoch
from .errors import UserError
from .finite import FiniteWatch
from .local_state import gather_local, restore_statistics, restored_sums
from .prepare import Found, Parts
from .profile import Profile
from .progress import Progress
from .resume import restore_model, restore_optimizer
from .run_folder import open_folder
from .stop_or_save import GO_ON, STOP, StopOrSave, Stopped
from .sums import Sums
from .trackers import Tracker, create_trackers


class Session:
    """One replica's part in a session.

    Args:
        args: the command line's.
        parts: built from them.
        found: the checkpoint to go on from, if any.
        stop: gives the reason to stop before the end, or ''.
        deadline: `time.time()` by which the session must have stopped, if any.

    Attributes:
        checkpoints: the run's; None but on the first replica, which alone writes logs and traces, too.
    """

    def __init__(
            self,
            args: argparse.Namespace,
            parts: Parts,
            found: Found | None,
            stop: Callable[[], str],
            deadline: float | None,
    ):
        self.args, self.parts = args, parts
        self.replica = replica = parts.replica
        self.training, self.schedule = create_training(args, parts, found)
        self.eval_criteria = [parts.eval_criterion]
        if self.training.ema:  # with its own codewords, so that it has the model's graph
            self.eval_criteria.append(create_criteria(args, self.training.ema.module)[1])
        self.progress = Progress(
            replica, self.schedule.epochs, parts.steps, args.global_batch_size, args.log_interval,
            workers=args.workers)
        self.control = StopOrSave(replica, stop, args.recovery_interval, args.recovery_minutes, deadline)
        self.first_epoch, self.first_step = 0, 0
        self.first_sums: Tensor | None = None
        self.reported: tuple[list[str], str] | None = None  # of the losses that are not finite
        if found:
            self.restore(*found[:2])
        self.checkpoints: Checkpoints | None = None
        self.trackers: list[Tracker] = []
        if replica.rank == 0:
            self.open(found)

    def restore(self, path: Any, state: dict[str, Any]) -> None:
        """Puts back what is not in the models: the optimizer's state, and the place in the run."""
        self.first_epoch, self.first_step = state['epoch'] + 1, state['step']
        try:
            restore_optimizer(self.training.optimizer, self.args.opt, state, path)
        except UserError:
            if not self.args.override_resume:
                raise
            self.progress.say('--override-resume: the optimizer starts anew')
        if self.first_step > self.parts.steps:
            raise UserError(f'cannot resume {path}: it is at step {self.first_step} of an epoch, which has '
                            f'{self.parts.steps} here')
        if self.first_step:
            world = len(state['local']['sums'])
            if world != self.replica.world:
                self.progress.say(f'it had {world} replica{"s" * (world > 1)} there: all go on from the mean of their '
                                  'BatchNorm statistics')
            restore_statistics(self.replica, self.training.models(), state['local'])
            self.first_sums = restored_sums(self.replica, state['local'])
        self.replica.end_step()

    def open(self, found: Found | None) -> None:
        """Opens the run's folder, checkpoints and logs, on the first replica."""
        args, parts, say = self.args, self.parts, self.progress.say
        alone = '' if self.replica.world == 1 else f', {self.replica.world} replicas'
        say(f'{args.model} on {self.replica.name}{alone}: {parts.train_images} images to train, {parts.eval_images} to '
            f'validate, {args.num_classes} classes')
        if parts.accumulation > 1:
            say(f'{parts.accumulation} x {args.batch_size} images a replica make a step of {args.global_batch_size}')
        folder = open_folder(args, found and found[0], parts.config['input_size'][-1])
        self.checkpoints = Checkpoints(folder, args.checkpoint_hist)
        if found:
            path, state, _ = found
            self.checkpoints.go_on_from(state, path)
            for note in parts.notes:
                say(note)
            say(f'resumed after {place(state["epoch"] + 1, state["step"])} from {path}')
        write_args(args, folder)
        self.trackers = create_trackers(args, folder, found and found[1]['epoch'])
        self.profile = Profile(args.profile, folder, self.replica, say)

    def run(self) -> None:
        """Trains to the end.

        Raises:
            Stopped: before the end; a checkpoint has all that was done.
            UserError: a loss is not finite, an image cannot be read, a checkpoint cannot be written.
        """
        for epoch in range(self.first_epoch, self.schedule.epochs):
            lr = self.schedule.set_epoch(epoch)
            self.progress.epoch = epoch
            sums = self.train(epoch)
            train_metrics = sums.means()
            metrics = self.evaluate(epoch, sums)
            if self.checkpoints:
                row = {f'train_{name}': value for name, value in train_metrics.items()}
                row |= {f'eval_{name}': value for name, value in metrics.items()} | {'lr': lr}
                best_by = metrics['ema_top1' if self.training.ema else 'top1']
                for tracker in self.trackers:
                    tracker.log(epoch, row)
                self.checkpoints.save_epoch(epoch, {'metric': best_by, **metrics}, row, self.state())
            self.control.has_saved()
            self.progress.say(f'epoch {epoch}: {describe(metrics)}')
            if self.control.after_step() == STOP and epoch + 1 < self.schedule.epochs:
                raise self.stopped(epoch + 1, 0)
        for tracker in self.trackers:
            tracker.close()

    def train(self, epoch: int) -> Sums:
        """The epoch's training, or what was left of it when the run was stopped; gives the sums of its metrics."""
        first_step, start = self.first_step, self.first_sums
        self.first_step, self.first_sums = 0, None
        sums = Sums(self.training.metrics(), self.replica, start)
        if first_step == self.parts.steps:  # stopped in the evaluation
            return sums
        accumulation = self.parts.accumulation
        batches = self.parts.train_batches
        assert batches is not None  # without --eval-only
        finite = FiniteWatch(self.training.terms(), self.replica.device, first_step * accumulation)
        batches.set_epoch(epoch, first_step)

        def after_step(step: int) -> None:
            if step % self.args.log_interval == 0:
                self.check_finite(finite, epoch, before=True)
            wish = self.control.after_step(step if step < self.parts.steps else None)
            if wish != GO_ON and step < self.parts.steps:
                self.check_finite(finite, epoch)
                self.save_recovery(epoch, step, sums)
                if wish == STOP:
                    raise self.stopped(epoch, step)

        train_epoch(
            self.training, batches, self.progress, sums, finite, epoch, first_step, after_step,
            self.profile.training if self.replica.rank == 0 else iter)
        self.progress.watch.overlook()
        self.check_finite(finite, epoch)
        return sums

    def evaluate(self, epoch: int, sums: Sums) -> dict[str, float]:
        """The metrics of the model, and those of its moving average with the prefix 'ema_'."""
        parts = self.parts
        metrics: dict[str, float] = {}

        def after_step(step: int) -> None:
            if step <= parts.common_eval_batches and self.control.after_step() == STOP:
                self.save_recovery(epoch, parts.steps, sums)
                raise self.stopped(epoch, parts.steps)

        for prefix, model, criterion in zip(('', 'ema_'), self.training.models(), self.eval_criteria):
            found = evaluate(
                model, criterion, parts.augment, parts.eval_batches, self.replica, self.progress, parts.amp_dtype,
                after_step)
            metrics |= {prefix + name: value for name, value in found.items()}
        broken = [name.replace('_', ' ') for name, value in metrics.items() if not math.isfinite(value)]
        self.report_broken(broken, f'the evaluation of epoch {epoch}')
        return metrics

    def check_finite(self, finite: FiniteWatch, epoch: int, before: bool = False) -> None:
        found = finite.broken(before)
        if found:
            count, terms = found
            step = -(-count // self.parts.accumulation)
            names = ['class loss' if term == 'class' else f'coding loss of {term}' for term in terms]
            self.report_broken(names, f'epoch {epoch}, step {step}')

    def report_broken(self, names: list[str], where: str) -> None:
        """Raises `UserError` for losses that are not finite, or only says so with `--allow-non-finite`, once."""
        if not names or (names, where) == self.reported:
            return
        self.reported = names, where
        text = f'the {" and the ".join(names)} is not finite in {where}'
        if not self.args.allow_non_finite:
            raise UserError(f'{text}; the checkpoints before it are kept: go on from one of them with a lower --lr or '
                            '--mu, or with --clip-grad, or all the same with --allow-non-finite')
        self.progress.say(f'WARNING: {text}')

    def save_recovery(self, epoch: int, step: int, sums: Sums) -> None:
        local = gather_local(self.replica, self.training.models(), sums.vector)
        if self.checkpoints:
            self.checkpoints.save_recovery(epoch, step, {**self.state(), 'local': local})
        self.control.has_saved()
        self.progress.watch.overlook()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the place in the run and what the run has reached."""
        training = self.training
        averages = {'state_dict_ema': training.ema.module.state_dict()} if training.ema else {}
        return {
            'arch': self.args.model,
            'num_classes': self.args.num_classes,
            'state_dict': training.model.state_dict(),
            **averages,
            'optimizer': training.optimizer.state_dict(),
            'args': vars(self.args),
        }

    def stopped(self, epoch: int, step: int) -> Stopped:
        path = self.checkpoints.newest if self.checkpoints else ''
        return Stopped(f'stopped after {place(epoch, step)} ({self.control.reason}), all of which is in {path}: the '
                       f'same command with --resume auto (or --resume {shlex.quote(str(path))}) goes on')


def place(epoch: int, step: int) -> str:
    return f'{step} steps of epoch {epoch}' if step else f'epoch {epoch - 1}'


def create_training(args: argparse.Namespace, parts: Parts, found: Found | None = None) -> tuple[Training, Schedule]:
    """What trains the model, both on the device now, and the schedule of its learning rate."""
    model, replica = parts.model, parts.replica
    ema = create_ema(args, model)
    if ema and found and 'state_dict_ema' in found[1]:
        restore_model(ema.module, found[1]['state_dict_ema'], found[0], args.override_resume)
    for module in (model, ema.module) if ema else (model,):
        replica.place(module)
        replica.peers.share(module)
    optimizer = create_optimizer(args, model)
    if args.replay and (replica.recorder() is None or type(optimizer) is not torch.optim.SGD):
        raise UserError(f'--replay is for SGD on XLA, not for --opt {args.opt} on {replica.name}: leave it out')
    replica.end_step()
    training = Training(
        model, parts.criterion, optimizer, parts.augment, replica,
        accumulation=parts.accumulation,
        amp_dtype=parts.amp_dtype,
        clip_grad=args.clip_grad,
        clip_mode=args.clip_mode,
        mask_grads=bool(args.mask_grads),
        ema=ema,
        seed=args.seed,
        replay=args.replay if args.replay is not None else replica.name != 'XLA:TPU',
    )
    return training, Schedule(args, optimizer)


def describe(metrics: dict[str, float]) -> str:
    """An evaluation in one line: 'top-1 98.5 %, ..., early decoders: layer2.0 97.9 %, layer3.0 98.2 %'."""
    parts = [f'top-1 {metrics["top1"]:.2f} %', f'top-5 {metrics["top5"]:.2f} %', f'loss {metrics["loss"]:.4f}']
    if 'coding_loss' in metrics:
        parts.append(f'coding loss {metrics["coding_loss"]:.4f}')
    if 'ema_top1' in metrics:
        parts.append(f'moving average: top-1 {metrics["ema_top1"]:.2f} %')
    decoders = [f'{name[len("decoder_"):]} {metrics[name]:.2f} %' for name in metrics if name.startswith('decoder_')]
    return ', '.join(parts) + (f'; early decoders: {", ".join(decoders)}' if decoders else '')
