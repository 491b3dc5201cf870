"""`timm-coded estimate`: what a TPU would make of a step, by the estimates of its compiler; no TPU needed."""
import argparse
from pathlib import Path

from timm_coded.speed.forms import create_form
from timm_coded.speed.step import PRECISIONS
from timm_coded.tpu.chips import CHIPS, Chip, find_chip
from timm_coded.tpu.compiler import check_installed
from timm_coded.tpu.estimate import Estimate, estimate, trace_apart
from timm_coded.tpu.largest import largest_batch
from timm_coded.tpu.table import all_instructions, findings
from timm_coded.tpu.trace import Step
from timm_coded.train.flags import COUNT

from .coded_arguments import MODEL_HELP, add_coded_arguments, name_coded
from .common import add_output_argument, check_once, make_folder, publish, tell

DESCRIPTION = (
    "Compiles a model's whole training step for TPUs, with the TPU's own compiler and no TPU, and tells its estimated "
    'time, its memory, and the instructions that cost most with their layers. A compile takes a minute or more and '
    '4 GiB; what is in --output already is not compiled again.'
)
EXAMPLE = 'timm-coded estimate resnext50_32x4d coded_resnext50_32x4d:packed --chips v5e --batch-size 64 --img-size 160'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('models', nargs='+', metavar='MODEL', help=f'{MODEL_HELP}; ratios are to the first')
    parser.add_argument('--chips', nargs='+', default=['v5e'], metavar='CHIP',
                        help=f'one or more of {", ".join(CHIPS)}; default: v5e')
    parser.add_argument('-b', '--batch-size', nargs='+', type=COUNT, default=[64], metavar='B',
                        help='images of a device, one number or more; default: 64')
    parser.add_argument('--img-size', type=COUNT, default=160, metavar='PIXELS',
                        help='side of the images; default: 160')
    parser.add_argument('--num-classes', type=COUNT, default=1000, metavar='K', help='of the models; default: 1000')
    parser.add_argument('--precision', choices=PRECISIONS, default='bf16',
                        help='bf16 is mixed precision (autocast); default: bf16')
    parser.add_argument('--replicas', type=COUNT, default=1, metavar='N',
                        help='devices that average their gradients in the step; default: 1')
    parser.add_argument('--mode', choices=['train', 'inference'], default='train', help='a training step or a forward '
                        'pass; default: train')
    parser.add_argument('--largest-batch', action='store_true', help='look also for the largest batch, of multiples of '
                        '8, that fits into the memory: five to fifteen compiles for each model and chip')
    add_output_argument(parser, Path('output/estimate'))
    add_coded_arguments(parser)


def run(args: argparse.Namespace) -> int:
    check_installed()
    models = name_coded(args.models, args)
    check_once(models)
    chips = [find_chip(name) for name in args.chips]
    for chip in chips:
        chip.smallest_slice(args.replicas)
    for name in models:
        create_form(name, args.num_classes)
    cache = args.output / 'finished'
    make_folder(cache)
    results = [one for batch_size in args.batch_size for name in models
               for one in estimate_step(step_of(args, name, batch_size), chips, cache)]
    largest = []
    if args.largest_batch:
        for name in models:
            for chip in chips:
                def compiled(batch_size: int) -> Estimate:
                    return estimate_step(step_of(args, name, batch_size), [chip], cache)[0]
                largest.append((name, chip, *largest_batch(compiled, args.batch_size[0], chip.hbm)))
    all_instructions(results).write(args.output)
    publish(findings(results, largest), args.output, args.json)
    return 0


def step_of(args: argparse.Namespace, model: str, batch_size: int) -> Step:
    inference = args.mode == 'inference'
    return Step(model, batch_size, args.img_size, args.precision, inference, args.replicas, args.num_classes)


def estimate_step(step: Step, chips: list[Chip], cache: Path) -> list[Estimate]:
    """The estimates for each chip, with a line of progress for each."""
    graph = trace_apart(step)
    results = []
    for chip in chips:
        tell(f'{step.model}, batch {step.batch_size}, {chip.name} ...')
        results.append(estimate(step, graph, chip, cache))
        said = f'{1e3 * results[-1].seconds:.3f} ms estimated' if results[-1].fits else 'does not fit'
        tell(f'    {said}, compiled in {results[-1].compile_seconds:.0f} s')
    return results
