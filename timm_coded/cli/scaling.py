"""`timm-coded scaling`: step time, efficiency, epoch and cost from 1 to 256 chips, on paper."""
import argparse
import functools
from pathlib import Path

from timm_coded.speed.forms import create_form
from timm_coded.tpu.chips import CHIPS
from timm_coded.tpu.compiler import check_installed
from timm_coded.tpu.estimate import Estimate
from timm_coded.tpu.scaling import Recipe, Speeds, plans, predict
from timm_coded.tpu.scaling_table import findings
from timm_coded.tpu.slices import SLICES, find_slice
from timm_coded.tpu.trace import Step
from timm_coded.train.flags import COUNT, number

from .coded_arguments import add_coded_arguments, name_coded
from .common import add_output_argument, make_folder, publish
from .estimate import estimate_step

DESCRIPTION = (
    "Predicts a training step's time, the efficiency, epoch and cost on slices of TPUs: the step by the estimate of "
    "the TPU's compiler with the all-reduce in it, the rest by the vendor's bandwidths, hosts and prices; and says "
    'what gives way first. Estimates that are in --output already, of this command or of `timm-coded estimate`, are '
    'not made again.'
)
EXAMPLE = 'timm-coded scaling coded_resnext50_32x4d:packed --slices v2-8 v5e-8 v5e-64'
RATE = number(float, 1e-3)
DEFAULT_SLICES = ['v2-8', 'v3-8', 'v5e-1', 'v5e-8', 'v5e-64', 'v5e-256', 'v6e-8']


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', nargs='?', default='coded_resnext50_32x4d:packed', metavar='MODEL',
                        help='as for `timm-coded estimate`; default: %(default)s')
    parser.add_argument('--slices', nargs='+', default=DEFAULT_SLICES, metavar='SLICE',
                        help=f'one or more of {", ".join(SLICES)}; default: {" ".join(DEFAULT_SLICES)}')
    parser.add_argument('-b', '--batch-size', type=COUNT, default=192, metavar='B',
                        help='training images of a device that go through the model at once; default: 192')
    parser.add_argument('--global-batch-size', type=COUNT, default=1536, metavar='B',
                        help='training images of a step, of all devices; default: 1536')
    parser.add_argument('--epochs', type=COUNT, default=250, metavar='N',
                        help="of ImageNet's training set; default: 250")
    parser.add_argument('--img-size', type=COUNT, default=160, metavar='PIXELS',
                        help='side of the images; default: 160')
    parser.add_argument('--num-classes', type=COUNT, default=1000, metavar='K', help='of the model; default: 1000')
    parser.add_argument('--input-rate', type=RATE, default=324., metavar='IMAGES',
                        help='training images/s that a core prepares, as `timm-coded input` measures; default: 324, '
                        'of one machine (docs/performance.md)')
    parser.add_argument('--host-ms', type=RATE, default=82.5, metavar='MS',
                        help='of a process for a micro-batch, as `timm-coded host` measures; default: 82.5, of one '
                        'machine (docs/performance.md)')
    parser.add_argument('--store-rate', type=RATE, default=100., metavar='MB',
                        help='MB/s of the storage of checkpoints, assumed; default: 100')
    add_output_argument(parser, Path('output/estimate'))
    add_coded_arguments(parser)


def run(args: argparse.Namespace) -> int:
    check_installed()
    recipe = Recipe(args.batch_size, args.global_batch_size, args.epochs)
    speeds = Speeds(args.input_rate, args.host_ms / 1e3, args.store_rate * 1e6)
    planned = [(where, plan) for where in map(find_slice, args.slices) for plan in plans(recipe, where.devices)]
    model, = name_coded([args.model], args)
    create_form(model, args.num_classes)
    make_folder(args.output / 'finished')

    @functools.cache
    def estimate(chip: str, micro_batch: int, replicas: int) -> Estimate:
        step = Step(model, micro_batch, args.img_size, replicas=replicas, num_classes=args.num_classes)
        return estimate_step(step, [CHIPS[chip]], args.output / 'finished')[0]

    predictions = [
        predict(where, plan, recipe, speeds,
                replicated=estimate(where.chip, plan.micro_batch, where.devices),
                alone=estimate(where.chip, recipe.micro_batch, 1))
        for where, plan in planned]
    publish(findings(model, predictions, speeds), args.output, args.json)
    return 0
