"""Where a run writes, and which checkpoint it goes on from."""
import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from timm.utils import get_outdir

from .checkpoint import load
from .errors import UserError
from .resume import find_newest


def find_checkpoint(args: argparse.Namespace) -> tuple[Path, dict[str, Any], list[str]] | None:
    """The checkpoint that `--resume` names, what it holds, and why newer ones were passed over; None to start anew.

    Raises:
        UserError: there is no such checkpoint, 'auto' without `--experiment`, or a checkpoint outside of the folder
            that `--experiment` names.
    """
    if not args.resume:
        return None
    named = Path(args.output, args.experiment) if args.experiment else None
    if args.resume == 'auto':
        if named is None:
            raise UserError('--resume auto needs --experiment NAME, to find the run again')
        return find_newest(named)
    path = Path(args.resume)
    loaded = load(path)  # first: a wrong path is no matter of folders
    folder = path.resolve().parent
    if named is not None and not args.eval_only and folder != named.resolve():
        raise UserError(f'--resume {path} goes on in the folder of that checkpoint, not in {named}, which --experiment '
                        f'or --config names: give --output {folder.parent} --experiment {folder.name}')
    return path, loaded, []


def open_folder(args: argparse.Namespace, resumed: Path | None, img_size: int) -> Path:
    """Makes or finds the run's folder, and writes its name to `args.experiment`.

    A resumed run goes on in its own folder. A new one never writes into another's: `name-1`, `name-2`, ... are taken
    instead, but with `--resume auto` the folder has to stay the same, so there the name is taken as it is.

    Raises:
        UserError: the folder cannot be written to.
    """
    name = args.experiment or f'{datetime.now():%Y%m%d-%H%M%S}-{args.model.replace("/", "_")}-{img_size}'
    try:
        folder = resumed.parent if resumed else Path(get_outdir(args.output, name, inc=args.resume != 'auto'))
        draft = folder / 'args.yaml.tmp'
        draft.touch()
        draft.unlink()
    except (AssertionError, OSError, ValueError) as error:
        reason = str(error) or 'too many of that name'
        raise UserError(f'cannot write to a folder {name} in --output {args.output}: {reason}') from error
    args.output, args.experiment = str(folder.parent), folder.name
    return folder
