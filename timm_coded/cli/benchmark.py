"""`timm-coded benchmark`: training and inference of models side by side."""
import argparse
from pathlib import Path

from timm_coded.speed.benchmark import default_names, make_cases, run_benchmark
from timm_coded.speed.contestant import Setting
from timm_coded.speed.step import PRECISIONS
from timm_coded.train import replicas
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT

from .coded_arguments import MODEL_HELP, add_coded_arguments, name_coded
from .common import add_device_argument, add_output_argument, make_folder, publish

DESCRIPTION = (
    'Measures training steps and inference of models side by side: time, images/s, ratios pair by pair, peak memory, '
    'parameters and multiply-accumulates (Table 5). OMP_NUM_THREADS=N sets the threads of a CPU.'
)
EXAMPLE = '''\
timm-coded benchmark resnext50_32x4d coded_resnext50_32x4d --batch-size 8 32
timm-coded benchmark --device cuda --batch-size 64 192 --precision bf16 --channels-last   # then with --compile too'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('models', nargs='*', metavar='MODEL', help=f'{MODEL_HELP}; the others are compared with the '
                        f'first; default: {" ".join(default_names("xla"))}, of which the fourth on XLA only')
    parser.add_argument('--mode', default='both', choices=['train', 'inference', 'both'],
                        help='training steps or forward passes; default: %(default)s')
    add_device_argument(parser)
    parser.add_argument('-b', '--batch-size', type=COUNT, nargs='+', default=[8], metavar='B',
                        help='images at a time, one number or more; default: 8')
    parser.add_argument('--img-size', type=COUNT, nargs='+', metavar='PIXELS',
                        help='side of the images, one or more; default: 160 in training and 224 in inference, '
                             'as in the recipe')
    parser.add_argument('--precision', default='float32', choices=PRECISIONS,
                        help='bf16 is mixed precision (autocast); default: %(default)s')
    parser.add_argument('--channels-last', action='store_true', help='weights and images in this layout')
    parser.add_argument('--compile', action='store_true', help='by torch.compile; not on XLA')
    parser.add_argument('--repeats', type=COUNT, default=10, metavar='N', help='times of each; default: %(default)s')
    parser.add_argument('--num-classes', type=COUNT, default=1000, metavar='K',
                        help='of the models; default: %(default)s')
    add_output_argument(parser, Path('output/benchmark'))
    add_coded_arguments(parser)


def run(args: argparse.Namespace) -> int:
    setting = chosen_setting(args)
    modes = {'train': ['training'], 'inference': ['inference'], 'both': ['training', 'inference']}[args.mode]
    cases = make_cases(modes, unique(args.batch_size), unique(args.img_size or []))
    models = name_coded(args.models or default_names(setting.device), args)
    folder = make_folder(args.output)
    findings = run_benchmark(models, cases, setting, args.repeats)
    publish(findings, folder, args.json)
    return 0


def chosen_setting(args: argparse.Namespace) -> Setting:
    """Raises UserError: the device is not there, or cannot run so."""
    device = replicas.check_device(args.device)
    if device == 'xla':
        for flag in ('compile', 'channels_last'):
            if getattr(args, flag):
                raise UserError(f'--{flag.replace("_", "-")} is for cpu and cuda: XLA compiles every step itself and '
                                'chooses the layout; leave it out')
    return Setting(device, PRECISIONS[args.precision], args.channels_last, args.compile, args.num_classes)


def unique(values: list[int]) -> list[int]:
    return list(dict.fromkeys(values))
