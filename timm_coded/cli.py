"""The console script `timm-coded`: a subcommand is an `_add_...` function, which sets `run`, and a `_run_...` one."""
import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn, Sequence

from .codes import coding_scheme
from .codes.scheme_file import scheme_to_text
from .codes.sources import SOURCES


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: {message} ({self.prog} --help shows all arguments)\n')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        argv: Arguments, those of the command line by default.

    Returns:
        The exit status: 0, or 2 when the input is wrong, which is told in one line on stderr.
    """
    parser = _Parser(prog='timm-coded', description='Coded ResNeXt: tools around the models.', allow_abbrev=False)
    subparsers = parser.add_subparsers(title='commands', metavar='COMMAND', required=True, parser_class=_Parser)
    _add_codes(subparsers)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:  # the reader of stdout, e.g. `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        reason = f'{error.filename}: {error.strerror}' if error.filename and error.strerror else str(error)
        print(f'{args.prog}: {reason}', file=sys.stderr)
        return 2
    except ValueError as error:
        print(f'{args.prog}: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'{args.prog}: stopped', file=sys.stderr)
        return 130


def _add_codes(subparsers) -> None:
    parser = subparsers.add_parser(
        'codes', allow_abbrev=False, help='make a coding scheme and tell how good it is',
        description='Makes a coding scheme and tells its minimum distance, what the bounds allow, and its column sums. '
                    'The codewords go to --output, or else to stdout with the figures on stderr, so that they can be '
                    'piped; either way they can be given to a model as a scheme file.')
    parser.add_argument('--num-classes', type=int, required=True, metavar='K', help='codewords')
    parser.add_argument('--num-subnns', type=int, required=True, metavar='N', help='length of the codewords')
    parser.add_argument('--num-active', type=int, required=True, metavar='N_ACT', help='ones in every codeword')
    parser.add_argument(
        '--source', choices=SOURCES, default='optimal',
        help="closed forms; the schemes of the paper; or the paper's Algorithm 1 (default: %(default)s)")
    parser.add_argument(
        '--min-distance', type=int, metavar='H_MIN',
        help='for --source search: the distance to reach (default: the largest that is found)')
    parser.add_argument('--seed', type=int, help='for --source search: the same seed gives the same words (default: 0)')
    parser.add_argument('--output', type=Path, metavar='FILE', help='write the codewords to this file')
    parser.set_defaults(run=_run_codes, prog=parser.prog)


def _run_codes(args: argparse.Namespace) -> int:
    if args.output is not None:
        _check_writable(args.output)
    scheme = coding_scheme(
        args.num_classes, args.num_subnns, args.num_active, args.source,
        min_distance=args.min_distance, seed=args.seed)
    if args.output is None:
        sys.stdout.write(scheme_to_text(scheme))
        sys.stdout.flush()
        print(scheme.describe(), file=sys.stderr)
    else:
        scheme.save(args.output)
        print(scheme.describe())
        print(f'written to            {args.output}')
    return 0


def _check_writable(path: Path) -> None:
    """Raises OSError if a file cannot be written: before the work is done, not after."""
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder, --output needs a file')
    if not path.parent.is_dir():
        raise FileNotFoundError(f'{path.parent} is not a folder, cannot write {path.name} there')
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f'no permission to write {path}')


if __name__ == '__main__':
    sys.exit(main())
