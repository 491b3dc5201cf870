"""A run from its arguments to its last line."""
import argparse
import shlex
import time
from typing import Callable

from .checkpoint import BEST
from .compile_watch import graphs
from .engine import evaluate
from .errors import UserError
from .prepare import Parts, prepare
from .progress import Progress, duration
from .run_folder import find_checkpoint
from .session import Session, describe
from .trackers import check_trackers


def run(args: argparse.Namespace, stop: Callable[[], str] = lambda: '') -> None:
    """Trains and evaluates as `args` say, or with `--eval-only` only evaluates; all replicas call it.

    Args:
        stop: gives the reason to stop before the end, or ''.

    Raises:
        UserError: something that the user can put right.
        Stopped: before the end, with a checkpoint of all that was done.
    """
    started = time.time()
    check_trackers(args)
    found = find_checkpoint(args)
    if args.eval_only and not found and not args.initial_checkpoint:
        raise UserError('--eval-only: evaluate what? Give --resume or --initial-checkpoint')
    parts = prepare(args, found)
    if args.eval_only:
        evaluate_only(args, parts)
        return
    deadline = None if args.max_hours is None else started + 3600 * args.max_hours
    session = Session(args, parts, found, stop, deadline)
    session.run()
    if session.checkpoints:
        report(session, time.time() - started)


def evaluate_only(args: argparse.Namespace, parts: Parts) -> None:
    replica = parts.replica
    replica.place(parts.model)
    replica.peers.share(parts.model)
    replica.end_step()
    progress = Progress(replica, 0, 0, args.batch_size, args.log_interval)
    progress.say(f'{args.model} on {replica.name}: {parts.eval_images} images to validate')
    metrics = evaluate(
        parts.model, parts.eval_criterion, parts.augment, parts.eval_batches, replica, progress, parts.amp_dtype)
    progress.say(describe(metrics))


def report(session: Session, seconds: float) -> None:
    """The last lines: what came out, what it took, and what to do with it."""
    assert session.checkpoints and session.checkpoints.best
    say, best, folder = session.progress.say, session.checkpoints.best, session.checkpoints.folder
    count, compiling = session.replica.compiles()
    path = folder / BEST
    say(f'best epoch {best["epoch"]}: {describe(best)}')
    say(f'took {duration(seconds)}' + (f', {duration(compiling)} of it to compile {graphs(count)}' if count else ''))
    say(f'checkpoint: {path}')
    config = shlex.quote(str(folder / 'args.yaml'))
    say(f'next: python train_xla.py --config {config} --eval-only --resume {shlex.quote(str(path))}')
