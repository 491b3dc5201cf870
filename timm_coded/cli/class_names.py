"""The names of a model's classes, which a checkpoint does not hold: from a file, or from the training's images."""
import argparse
import sys
from pathlib import Path

from timm_coded.train.errors import UserError
from timm_coded.train.trained import Trained


def add_class_names_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--class-names', type=Path, metavar='FILE.txt',
                        help="a name in each line, by class index; default: those of the training's images, where they "
                             'are still there')


def read_class_names(file: Path) -> list[str]:
    """The names in a file, one in each line.

    Raises:
        UserError: it cannot be read, or a name is empty or there twice.
    """
    try:
        names = [line.strip() for line in file.read_text(encoding='utf-8').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'cannot read --class-names {file}: {error}') from error
    twice = sorted({name for name in names if names.count(name) > 1 or not name})
    if twice:
        raise UserError(f'--class-names {file}: {twice[0]!r} is there {names.count(twice[0])} times; expected a '
                        'name of its own in each line')
    return names


def class_names_of(trained: Trained, names: list[str] | None) -> list[str]:
    """The names given, or those of the training's images; none where these are not to be had, which is told.

    Raises:
        UserError: the model has another number of classes.
    """
    if names is None:
        try:
            return trained.images().class_names
        except UserError as error:
            print(f'without class names ({error}): give --class-names FILE.txt to have them', file=sys.stderr)
            return []
    if len(names) != trained.args.num_classes:
        raise UserError(f'--class-names has {len(names)} names, the model of {trained.path} '
                        f'{trained.args.num_classes} classes')
    return names
