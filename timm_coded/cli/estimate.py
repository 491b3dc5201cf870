"""`timm-coded estimate`: what a TPU would make of a step, by the estimates of its compiler; no TPU needed."""
import argparse
import sys
from pathlib import Path

from timm_coded.speed.forms import create_form
from timm_coded.tpu.chips import CHIPS, find_chip
from timm_coded.tpu.compiler import check_installed
from timm_coded.tpu.estimate import Estimate, estimate, trace_apart
from timm_coded.tpu.table import all_instructions, findings
from timm_coded.tpu.trace import PRECISIONS, Step
from timm_coded.train.flags import COUNT

from .common import publish

DESCRIPTION = (
    "Compiles a model's whole training step for TPUs, with the TPU's own compiler and no TPU, and tells its estimated "
    'time, its memory, and the instructions that cost most with their layers. A compile takes a minute or more and '
    '4 GiB; one that was interrupted goes on where it was. Example: timm-coded estimate resnext50_32x4d '
    'coded_resnext50_32x4d:packed --chips v5e --batch-size 64 --img-size 160'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('models', nargs='+', metavar='MODEL', help="a model's name, NAME:packed (as train_xla.py runs "
                        'it on a TPU) or NAME:paper (all outputs of subNNs in memory); ratios are to the first')
    parser.add_argument('--chips', nargs='+', default=['v5e'], metavar='CHIP',
                        help=f'of {", ".join(CHIPS)}; default: v5e')
    parser.add_argument('-b', '--batch-size', nargs='+', type=COUNT, default=[64], help='of a device; default: 64')
    parser.add_argument('--img-size', type=COUNT, default=160, metavar='PIXELS', help='default: 160')
    parser.add_argument('--num-classes', type=COUNT, default=1000, metavar='K', help='default: 1000')
    parser.add_argument('--precision', choices=PRECISIONS, default='bf16', help='default: bf16, mixed precision')
    parser.add_argument('--replicas', type=COUNT, default=1, metavar='N',
                        help='devices that average their gradients in the step; default: 1')
    parser.add_argument('--inference', action='store_true', help='a forward pass in the place of a training step')
    parser.add_argument('--output', type=Path, default=Path('output/estimate'), metavar='FOLDER',
                        help='for tables, and finished estimates, which are not made again; default: %(default)s')


def run(args: argparse.Namespace) -> int:
    check_installed()
    chips = [find_chip(name) for name in args.chips]
    for chip in chips:
        chip.smallest_slice(args.replicas)
    for name in args.models:
        create_form(name, args.num_classes)
    cache = args.output / 'finished'
    cache.mkdir(parents=True, exist_ok=True)
    estimates: list[Estimate] = []
    for batch_size in args.batch_size:
        for name in args.models:
            step = Step(name, batch_size, args.img_size, args.precision, args.inference, args.replicas,
                        args.num_classes)
            graph = trace_apart(step)
            for chip in chips:
                print(f'{name}, batch {batch_size}, {chip.name} ...', file=sys.stderr, flush=True)
                estimates.append(estimate(step, graph, chip, cache))
                say(estimates[-1])
    all_instructions(estimates).write(args.output)
    publish(findings(estimates), args.output)
    return 0


def say(result: Estimate) -> None:
    text = f'{1e3 * result.seconds:.3f} ms estimated' if result.fits else 'does not fit'
    print(f'    {text}, compiled in {result.compile_seconds:.0f} s', file=sys.stderr, flush=True)
