"""Command line and YAML `--config` into one namespace; what is not known is an error."""
import argparse
import difflib
import os
import sys
from typing import Any, Hashable, NoReturn, Sequence

import yaml

from .flags import add_data_flags, add_image_flags, add_model_flags, add_optimizer_flags, add_run_flags

EPILOG = """\
examples:
  python train_xla.py --config configs/digits.yaml
  python train_xla.py DATA_DIR --config configs/imagenet.yaml --doctor
  python train_xla.py DATA_DIR --config configs/imagenet.yaml --resume auto

exit status:
  0    done
  1    failed, with a traceback
  2    wrong input, told in one line
  75   stopped by SIGTERM, Ctrl-C or --max-hours, with a checkpoint: --resume auto goes on
"""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, without the usage of sixty flags."""

    def error(self, message: str) -> NoReturn:
        print(f'{self.prog}: error: {message}', file=sys.stderr)
        sys.exit(2)


def build_parser(prog: str = 'train_xla.py') -> Parser:
    parser = Parser(
        prog=prog,
        usage='%(prog)s [DATA_DIR] [--config FILE] [FLAG ...]',
        description='Trains a coded (or any other timm) model on images: on a TPU by torch_xla, a CPU or a GPU.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('-c', '--config', metavar='FILE', help='YAML of defaults; the command line wins')
    for add_flags in (add_data_flags, add_image_flags, add_model_flags, add_optimizer_flags, add_run_flags):
        add_flags(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line, and the `--config` that it names.

    The config's values take the place of the defaults. They go through the same parser as the command line, so that
    types, choices and bounds are checked in one place.

    Args:
        argv: the words after the program's name; None for `sys.argv`'s.

    Raises:
        SystemExit: status 2 after one line on stderr that names the flag, key or file and what was expected.
    """
    parser = build_parser()
    defaults = read_config(config_path(argv))
    parser.set_defaults(data_dir=defaults.data_dir)
    args, unknown = parser.parse_known_args(argv, defaults)
    if unknown:
        flags = [word.split('=')[0] for word in unknown if word.startswith('-')]
        if not flags:
            parser.error(f'unexpected {unknown[0]!r} after the data folder {args.data_dir!r}')
        parser.error(f'unknown flag {flags[0]}{suggestion(flags[0], [flag_of(key) for key in vars(args)])}')
    return args


def config_path(argv: Sequence[str] | None) -> str | None:
    parser = Parser(prog='train_xla.py', add_help=False, allow_abbrev=False)
    parser.add_argument('-c', '--config')
    return parser.parse_known_args(argv)[0].config


def read_config(path: str | None) -> argparse.Namespace:
    """All flags' values as the config file has them, or by default; a null in the file leaves the default."""
    parser = build_parser('train_xla.py' if path is None else f'train_xla.py: {path}')
    defaults = parser.parse_args([])
    if path is None:
        return defaults
    try:
        with open(path) as file:
            config = yaml.load(file, StrictLoader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        parser.error(f'cannot read it: {" ".join(str(error).split())}')
    if not isinstance(config, dict):
        parser.error('expected lines of `key: value`')
    known = sorted(vars(defaults).keys() - {'config'})
    for key in config:
        if key not in known:
            parser.error(f'unknown key {key!r}{suggestion(str(key), known)}')
    data_dir = config.pop('data_dir', None)
    if not isinstance(data_dir, str | None):
        parser.error(f'data_dir takes the name of a folder, got {data_dir!r}')
    if not isinstance(config.get('model_kwargs') or {}, dict):
        parser.error(f'model_kwargs takes NAME: VALUE pairs, got {config["model_kwargs"]!r}')
    for key, value in config.items():
        # a word of its own is the data folder: what an option leaves over of a list, it did not take
        left = parser.parse_args(config_to_argv({key: value})).data_dir
        if left is not None:
            parser.error(f'{key} does not take the list {value!r}')
    parser.set_defaults(data_dir=data_dir)
    return parser.parse_args(config_to_argv(config))


class StrictLoader(yaml.SafeLoader):
    """YAML in which no key may stand twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f'the key {twice[0]!r} stands twice', node.start_mark)
        return super().construct_mapping(node, deep)


def config_to_argv(config: dict[str, Any]) -> list[str]:
    """Config values as words of a command line: {'lr': 0.1, 'amp': False} -> ['--lr=0.1', '--no-amp']."""
    argv = []
    for key, value in config.items():
        if value is True or value is False:
            argv.append(flag_of(key if value else f'no_{key}'))
        elif isinstance(value, dict):
            argv += [flag_of(key), *(f'{name}={item!r}' for name, item in value.items())]
        elif isinstance(value, list):
            argv += [flag_of(key), *map(str, value)]
        elif value is not None:
            argv.append(f'{flag_of(key)}={value}')
    return argv


def flag_of(key: str) -> str:
    return '--' + key.replace('_', '-')


def suggestion(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return f'; did you mean {near[0]}?' if near else ''


def write_args(args: argparse.Namespace, folder: str | os.PathLike[str]) -> None:
    """Writes the merged values as `args.yaml`, which can be given as `--config` again."""
    values = {key: value for key, value in vars(args).items() if key != 'config'}
    with open(os.path.join(folder, 'args.yaml'), 'w') as file:
        yaml.safe_dump(values, file, sort_keys=False)
