"""Checkpoints: each epoch's, the best and one in mid-epoch, as CPU tensors that plain PyTorch and timm read."""
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .errors import UserError
from .summary import write_summary

LAST, BEST = 'last.pth.tar', 'model_best.pth.tar'
NAME = re.compile(r'(checkpoint|recovery)-(\d+)(?:-(\d+))?\.pth\.tar')


class Checkpoints:
    """The checkpoints and the summary of a run, in its folder; only its first replica has them.

    Every file appears whole under its name or not at all: it is written under another, synced, read back and renamed.

    Args:
        folder: the run's.
        kept: of how many epochs, the newest, a checkpoint is kept beside the last and the best.

    Attributes:
        newest: the path of the newest, or None.
        best: the best epoch's metrics and its number, or None.
        history: a row of the summary for each epoch that has ended.
    """

    def __init__(self, folder: Path, kept: int):
        self.folder = folder
        self.kept = kept
        self.newest: Path | None = None
        self.best: dict[str, float] | None = None
        self.history: list[dict[str, float]] = []
        for draft in folder.glob('*.tmp'):  # of a run that was killed
            draft.unlink()

    def save_epoch(
            self,
            epoch: int,
            metrics: dict[str, float],
            row: dict[str, float],
            state: dict[str, Any],
    ) -> None:
        """Saves after epoch `epoch`, with its row of the summary. The best has the highest metric, and is the earliest.

        Args:
            metrics: of the evaluation; 'metric' is what the best is chosen by.
            row: of the summary.
            state: what a resumed run needs, of which this adds the epoch, the best and the history.

        Raises:
            UserError: the files cannot be written; those before are whole.
        """
        is_best = self.best is None or metrics['metric'] > self.best['metric']
        if is_best:
            self.best = {'epoch': epoch, **metrics}
        self.history = [*self.history, {'epoch': epoch, **row}]
        path = self.folder / f'checkpoint-{epoch}.pth.tar'
        with self.reporting(path):
            write(path, {'epoch': epoch, 'step': 0, 'metric': metrics['metric'], **self.so_far(), **state})
            if is_best:
                duplicate(path, self.folder / BEST)
            write_summary(self.folder / 'summary.csv', self.history)
            duplicate(path, self.folder / LAST)
            self.prune(path)

    def save_recovery(self, epoch: int, step: int, state: dict[str, Any]) -> None:
        """Saves in mid-epoch, after `step` steps of epoch `epoch`.

        Raises:
            UserError: the file cannot be written; those before are whole.
        """
        path = self.folder / f'recovery-{epoch}-{step}.pth.tar'
        with self.reporting(path):
            # as timm counts, 'epoch' is the one that has ended
            write(path, {'epoch': epoch - 1, 'step': step, 'metric': None, **self.so_far(), **state})
            self.prune(path)

    def so_far(self) -> dict[str, Any]:
        return {'best': self.best, 'history': self.history, 'version': 2}

    def reporting(self, path: Path) -> 'Reporting':
        return Reporting(f'cannot write the checkpoint {path}', 'those before it are whole')

    def go_on_from(self, state: dict[str, Any], path: Path) -> None:
        """Takes over the history and the best epoch of the checkpoint `state`, read from `path`.

        The file of the best may hold another epoch: the run may have gone on after that checkpoint, to a better one
        that is now given up. Where the old best is no longer kept, the search for the best starts anew.
        """
        self.newest, self.history = path, state['history']
        with Reporting(f'cannot write to {self.folder}', 'nothing in it is lost'):
            write_summary(self.folder / 'summary.csv', self.history)
            self.find_best(state['best'], path)
            place = place_of(path)
            if place and not state['step'] and place == max(filter(None, map(place_of, self.folder.glob('*.pth.tar')))):
                duplicate(path, self.folder / LAST)  # a session killed before that may have been the last
                self.prune(path)

    def find_best(self, best: dict[str, float] | None, path: Path) -> None:
        best_path = self.folder / BEST
        for candidate in (best_path, self.folder / f'checkpoint-{best["epoch"]}.pth.tar', path) if best else ():
            held = load(candidate) if candidate.is_file() else None
            if best and held and held['epoch'] == best['epoch'] and held['best'] == best and not held['step']:
                if candidate != best_path:
                    duplicate(candidate, best_path)
                self.best = best
                return
        best_path.unlink(missing_ok=True)

    def prune(self, newest: Path) -> None:
        """Deletes what `newest` makes superfluous: older recovery files, and epochs that are no longer kept."""
        self.newest = newest
        found = NAME.fullmatch(newest.name)
        assert found, newest
        kind, epoch, _ = found.groups()
        for path in self.folder.glob('*.pth.tar'):
            name = NAME.fullmatch(path.name)
            if not name or path == newest:
                continue
            age = int(epoch) - int(name[2])
            if name[1] == 'recovery' or kind == 'checkpoint' and not 0 <= age < self.kept:
                path.unlink()


def place_of(path: Path) -> tuple[int, int] | None:
    """The epoch and its step that the run has reached, by the file's name; None for a name without."""
    name = NAME.fullmatch(path.name)
    if not name:
        return None
    epoch, step = int(name[2]), int(name[3] or 0)
    return (epoch, step) if name[1] == 'recovery' else (epoch + 1, 0)


class Reporting:
    """Turns what goes wrong with a file into a `UserError`: what was tried, why it failed and what still holds."""

    def __init__(self, what: str, consolation: str):
        self.what, self.consolation = what, consolation

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, RuntimeError)):
            raise UserError(f'{self.what}: {error}; {self.consolation}') from error


def write(path: Path, state: dict[str, Any]) -> None:
    """Writes a whole checkpoint or none.

    Raises:
        OSError: the drive is full, read only, or does not give back what was written.
    """
    draft = path.with_name(path.name + '.tmp')
    try:
        with open(draft, 'wb') as file:
            save(state, file)
            file.flush()
            os.fsync(file.fileno())
        check_whole(draft)
        os.replace(draft, path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def save(state: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(to_cpu(state), file)
    except RuntimeError as error:  # PyTorch's own account of it does not say that the drive is full
        raise error.__context__ if isinstance(error.__context__, OSError) else error  # noqa: B904  # it is the cause


def duplicate(path: Path, target: Path) -> None:
    """Gives a file a second name; where the drive has no hard links, a copy."""
    draft = target.with_name(target.name + '.tmp')
    draft.unlink(missing_ok=True)
    try:
        os.link(path, draft)
    except OSError:
        with open(path, 'rb') as source, open(draft, 'wb') as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
    os.replace(draft, target)
    draft.unlink(missing_ok=True)  # which it still is, if both were names of one file already
    sync_folder(target.parent)


def check_whole(path: str | Path) -> None:
    """Raises an error if the file is no zip archive, or differs from its checksums, at which PyTorch does not look."""
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken:
        raise OSError(f'{broken} in it differs from what was written')


def sync_folder(folder: Path) -> None:
    """Makes a new name last; some mounted drives cannot sync a folder, and need not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def load(path: str | Path, otherwise: str = 'to start from its weights, use --initial-checkpoint') -> dict[str, Any]:
    """Reads a checkpoint of `Checkpoints` to the CPU; it cannot run code.

    Args:
        otherwise: what to do with another file of weights, for the error message.

    Raises:
        UserError: there is no such file, or it is not a checkpoint that training can go on from.
    """
    if not os.path.isfile(path):
        raise UserError(f'there is no checkpoint {path}')
    try:
        check_whole(path)
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a broken file raises whatever the zip or pickle reader stumbles over
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise UserError(f'cannot read the checkpoint {path}: {reason}; give another one of its folder') from error
    needed = {'arch', 'num_classes', 'epoch', 'step', 'state_dict', 'optimizer', 'best', 'history', 'args'}
    missing = needed - (set(state) if isinstance(state, dict) else set())
    if isinstance(state, dict) and 'extracted' in state:
        raise UserError(f'{path} is an extracted network, which is a model of its own: '
                        f'timm_coded.load_extracted({str(path)!r}) in Python, or give the checkpoint it was cut out of')
    if missing:
        raise UserError(f'{path} is no checkpoint of train_xla.py (it has no {", ".join(sorted(missing))}): '
                        f'{otherwise}')
    return state


def to_cpu(tree: Any) -> Any:
    """The same nest of dicts, lists and tuples with all tensors on the CPU."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().cpu()
    if isinstance(tree, dict):
        return {key: to_cpu(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(to_cpu(value) for value in tree)
    return tree
