"""`timm-coded codes`: makes a coding scheme and tells how good it is."""
import argparse
import os
import sys
from pathlib import Path

from timm_coded.codes import coding_scheme
from timm_coded.codes.scheme_file import scheme_to_text
from timm_coded.codes.sources import SOURCES
from timm_coded.train.flags import COUNT, INDEX

DESCRIPTION = (
    'Makes a coding scheme and tells its minimum distance, what the bounds allow, and its column sums. '
    'The codewords go to --output, or into a pipe or file that stdout is sent to, with the figures on '
    'stderr; either way they can be given to a model as a scheme file. A terminal gets the figures only.'
)
EXAMPLE = 'timm-coded codes --num-classes 1000 --num-subnns 32 --num-active 8 --output scheme.txt'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--num-classes', type=COUNT, required=True, metavar='K', help='codewords')
    parser.add_argument('--num-subnns', type=COUNT, required=True, metavar='N', help='length of the codewords')
    parser.add_argument('--num-active', type=COUNT, required=True, metavar='N_ACT', help='ones in every codeword')
    parser.add_argument(
        '--source', choices=SOURCES, default='optimal',
        help="constructions; the schemes of the paper; or the paper's Algorithm 1; default: %(default)s")
    parser.add_argument(
        '--min-distance', type=int, metavar='H_MIN',
        help='for --source search: the distance to reach; default: the largest that is found')
    parser.add_argument('--seed', type=INDEX,
                        help='for --source search: the same seed gives the same words; default: 0')
    parser.add_argument('--output', type=Path, metavar='FILE',
                        help='write the codewords to this file; default: to stdout, where it is no terminal')


def run(args: argparse.Namespace) -> int:
    if args.output is not None:
        check_writable(args.output)
    scheme = coding_scheme(
        args.num_classes, args.num_subnns, args.num_active, args.source,
        min_distance=args.min_distance, seed=args.seed)
    if args.output is not None:
        scheme.save(args.output)
        print(scheme.describe())
        print(f'written to            {args.output}')
    elif sys.stdout.isatty():
        print(scheme.describe())
        print('codewords             not shown on a terminal: give --output FILE, or send stdout to a file or pipe')
    else:
        sys.stdout.write(scheme_to_text(scheme))
        sys.stdout.flush()
        print(scheme.describe(), file=sys.stderr)
    return 0


def check_writable(path: Path) -> None:
    """Raises OSError if a file cannot be written: before the work is done, not after."""
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder, --output needs a file')
    if not path.parent.is_dir():
        raise FileNotFoundError(f'{path.parent} is not a folder, cannot write {path.name} there')
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f'no permission to write {path}')
