"""`timm-coded host`: the host's share of a training step on XLA."""
import argparse
from pathlib import Path

from timm_coded.speed.host import host_times
from timm_coded.speed.step import PRECISIONS
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT

from .coded_arguments import MODEL_HELP, add_coded_arguments, name_coded
from .common import add_output_argument, check_once, make_folder, publish

MODELS = ['coded_resnext50_32x4d:packed', 'resnext50_32x4d:packed']
SMALLEST = 2  # images of a batch: BatchNorm knows no variance of one
DESCRIPTION = """What a training step costs the host on XLA: tracing forward, backward, metrics and optimizer, hashing
the graph and handing it to the device, whose own work is left out; each step traced anew, and run by the recorded
graph; and what the first step costs to compile."""
EXAMPLE = 'PJRT_DEVICE=CPU timm-coded host --repeats 20'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('models', nargs='*', metavar='MODEL', default=MODELS,
                        help=f'{MODEL_HELP}; default: {" ".join(MODELS)}')
    parser.add_argument('--num-classes', type=COUNT, default=1000, metavar='K', help='of the models; default: 1000')
    parser.add_argument('--img-size', type=COUNT, default=32, metavar='PIXELS',
                        help='side of the images, small, as the host does the same for all sizes and the device has '
                             'less to do; default: 32')
    parser.add_argument('-b', '--batch-size', type=COUNT, default=2, metavar='B',
                        help=f'images at a time, {SMALLEST} at least; default: 2')
    parser.add_argument('--precision', choices=PRECISIONS, default='bf16',
                        help='bf16 is mixed precision (autocast); default: bf16')
    parser.add_argument('--repeats', type=COUNT, default=20, metavar='N', help='times of each; default: 20')
    add_output_argument(parser, Path('output/host'))
    add_coded_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.batch_size < SMALLEST:
        raise UserError(f'--batch-size {args.batch_size}: BatchNorm needs at least {SMALLEST} images of such a size')
    models = name_coded(args.models, args)
    check_once(models)
    make_folder(args.output)
    publish(host_times(models, args.num_classes, args.img_size, args.batch_size, PRECISIONS[args.precision],
                       args.repeats), args.output, args.json)
    return 0
