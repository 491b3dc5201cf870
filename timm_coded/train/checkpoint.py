"""Checkpoints: the last epoch's, the best and the newest few, as CPU tensors that plain PyTorch and timm read."""
import argparse
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import UserError
from .replicas import to_cpu

LAST, BEST = 'last.pth.tar', 'model_best.pth.tar'


class Checkpoints:
    """The checkpoints of a run, in its folder.

    Every file appears whole under its name or not at all: it is written under another, synced and renamed.

    Args:
        folder: the run's.
        history: of how many epochs, the newest, a checkpoint is kept beside the last and the best.
    """

    def __init__(self, folder: Path, history: int):
        self.folder = folder
        self.history = history
        self.best = None  # the best epoch's metrics and its number

    def save(
            self,
            epoch: int,
            metrics: dict[str, float],
            model: nn.Module,
            optimizer: torch.optim.Optimizer,
            args: argparse.Namespace,
    ) -> None:
        """Saves the state at the end of an epoch; the best is that of the highest top-1, the earliest of equal ones.

        Raises:
            UserError: it cannot be written (no space, no permission); the checkpoints before it are untouched.
        """
        is_best = self.best is None or metrics['top1'] > self.best['top1']
        if is_best:
            self.best = {'epoch': epoch, **metrics}
        path = self.folder / f'checkpoint-{epoch}.pth.tar'
        try:
            write(path, to_cpu({
                'epoch': epoch,
                'arch': args.model,
                'num_classes': args.num_classes,
                'state_dict': model.state_dict(),
                'optimizer': optimizer.state_dict(),
                'metric': metrics['top1'],
                'best': self.best,
                'args': vars(args),
                'version': 2,  # timm's: 'epoch' is the one that has ended
            }))
            if is_best:
                duplicate(path, self.folder / BEST)
            duplicate(path, self.folder / LAST)  # at last: what a resumed run finds here is complete
            self.prune(epoch)
        except (OSError, RuntimeError) as error:
            reason = f'{error}; the checkpoints before it are whole'
            raise UserError(f'cannot write the checkpoint {path}: {reason}') from error

    def go_on_from(self, state: dict[str, Any], path: Path) -> None:
        """Takes over the best epoch of the checkpoint `state`, read from `path`, and lets the file of the best hold it.

        It may not: the run may have gone on after that checkpoint, to a better epoch that is now given up. Where the
        old best is no longer kept, the search for the best starts anew.
        """
        best, best_path = state['best'], self.folder / BEST
        for candidate in (best_path, self.folder / f'checkpoint-{best["epoch"]}.pth.tar', path):
            held = load(candidate) if candidate.is_file() else None
            if held and held['epoch'] == best['epoch'] and held['best'] == best:
                if candidate != best_path:
                    duplicate(candidate, best_path)
                self.best = best
                return
        best_path.unlink(missing_ok=True)

    def prune(self, epoch: int) -> None:
        for path in self.folder.glob('checkpoint-*.pth.tar'):
            number = re.fullmatch(r'checkpoint-(\d+)\.pth\.tar', path.name)
            if number and not epoch - self.history < int(number[1]) <= epoch:
                path.unlink()


def write(path: Path, state: dict[str, Any]) -> None:
    draft = path.with_name(path.name + '.tmp')
    try:
        with open(draft, 'wb') as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def duplicate(path: Path, target: Path) -> None:
    """Gives a file a second name; where the drive has no hard links, a copy."""
    draft = target.with_name(target.name + '.tmp')
    draft.unlink(missing_ok=True)
    try:
        os.link(path, draft)
    except OSError:
        shutil.copyfile(path, draft)
    os.replace(draft, target)


def load(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of `Checkpoints.save` to the CPU; it cannot run code.

    Raises:
        UserError: there is no such file, or it is not a checkpoint that training can go on from.
    """
    if not os.path.isfile(path):
        raise UserError(f'there is no checkpoint {path}')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a broken file raises whatever the zip or pickle reader stumbles over
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        hint = 'give --resume another one of its folder'
        raise UserError(f'cannot read the checkpoint {path}: {reason}; {hint}') from error
    missing = {'arch', 'num_classes', 'epoch', 'state_dict', 'optimizer', 'best', 'args'} - set(state)
    if missing:
        raise UserError(f'{path} is no checkpoint of train_xla.py (it has no {", ".join(sorted(missing))}): to start '
                        'from its weights, use --initial-checkpoint')
    return state


def check_same_model(state: dict[str, Any], args: argparse.Namespace, path: str | Path) -> None:
    """Raises `UserError` if the checkpoint is not of the model that `args` describe, naming the differences."""
    differences = [
        f'{flag} {wanted} is {saved} there'
        for flag, wanted, saved in (
            ('--model', args.model, state['arch']),
            ('--num-classes', args.num_classes, state['num_classes']),
        )
        if wanted != saved
    ]
    if differences:
        raise UserError(f'cannot resume {path}, a checkpoint of another model: {", ".join(differences)}')


def restore_model(model: nn.Module, state: dict[str, Any], path: str | Path) -> None:
    try:
        model.load_state_dict(state['state_dict'])
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise UserError(f'cannot resume {path}, its model was made with other arguments: {reason}') from error


def restore_optimizer(optimizer: torch.optim.Optimizer, name: str, state: dict[str, Any], path: str | Path) -> None:
    """Restores what the optimizer has gathered; learning rate, momentum and so on stay as they were given to it.

    Raises:
        UserError: the checkpoint is of another optimizer than `name`, or of other groups of parameters.
    """
    if state['args']['opt'] != name:
        raise UserError(f'cannot resume {path}: --opt {name} is {state["args"]["opt"]} there')
    groups = optimizer.state_dict()['param_groups']
    saved = state['optimizer']
    if [group['params'] for group in groups] != [group['params'] for group in saved['param_groups']]:
        raise UserError(f'cannot resume {path}: its optimizer has other parameter groups (another --weight-decay?)')
    optimizer.load_state_dict({'state': saved['state'], 'param_groups': groups})
