"""Every flag that `train_xla.py` honours: timm's names where timm has one, in the order of a run."""
import argparse
import math
import os
from typing import Any, Callable, Sequence

from timm.utils import ParseKwargs


def number(kind: type, low: float | None = None, high: float | None = None) -> Callable[[str], float]:
    """A type for argparse: an int or float within [low, high]."""
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            expected = 'a whole' if kind is int else 'a'
            raise argparse.ArgumentTypeError(f'expected {expected} number, got {text!r}') from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f'must be finite, got {text}')
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            bounds = f'at least {low}' if high is None else f'between {low} and {high}'
            raise argparse.ArgumentTypeError(f'must be {bounds}, got {text}')
        return value
    return parse


COUNT = number(int, 1)  # 1, 2, ...
INDEX = number(int, 0)  # 0, 1, ...
POSITIVE = number(float, 0)
FRACTION = number(float, 0, 1)


class Switch(argparse.BooleanOptionalAction):
    """--flag and --no-flag, also where the flag's own name begins with "no-", as timm's --no-aug does."""

    def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: str | Sequence[Any] | None,
            option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, option_string == self.option_strings[0])


class ModelKwargs(ParseKwargs):
    """timm's, which answers a word without '=' in one line."""

    def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: Any,
            option_string: str | None = None,
    ) -> None:
        try:
            super().__call__(parser, namespace, values, option_string)
        except ValueError:
            parser.error(f'{option_string} takes NAME=VALUE words, got {" ".join(values)}')


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('data')
    group.add_argument('data_dir', nargs='?', metavar='DATA_DIR', help='folder of the images')
    group.add_argument('--dataset', default='', help="'digits', 'letters', or a name as timm.data.create_dataset reads "
                       "it: '' (class folders, in tar files or not), torch/cifar10, hfds/NAME, wds/, tfds/NAME")
    group.add_argument('--dataset-download', action=Switch, default=False, help='let torch/ and hfds/ sets download')
    group.add_argument('--train-split', default='train')
    group.add_argument('--val-split', default='validation')
    group.add_argument('--class-map', default='', help='file that maps class folders to indices')
    group.add_argument('-b', '--batch-size', type=COUNT, default=128,
                       help='training images of a replica that go through the model at once')
    group.add_argument('--global-batch-size', type=COUNT, help='training images of a step, of all replicas; gradients '
                       'are accumulated as needed; default: --batch-size of every replica')
    group.add_argument('-vb', '--validation-batch-size', type=COUNT, help='default: --batch-size')
    group.add_argument('-j', '--workers', type=INDEX, default=min(4, os.cpu_count() or 1),
                       help='loader processes of a replica; 0 loads in the main one')
    group.add_argument('--skip-corrupt', type=INDEX, default=0, metavar='N',
                       help='leave out up to N images of a replica that cannot be read, and name them')
    group.add_argument('--fast-decode', action=Switch, default=False, help='decode JPEG files in less time, with '
                       'nearly the same pixels; other image files are decoded as without it')
    group.add_argument('--synthetic', action=Switch, default=False, help='random images in the place of '
                       'DATA_DIR, 100 steps of them and 10 to validate: times the device without the loading')


def add_image_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('images (defaults that are not given come from the model)')
    group.add_argument('--img-size', type=COUNT, help='pixels, training')
    group.add_argument('--eval-img-size', type=COUNT, help='pixels, evaluation; default: --img-size')
    group.add_argument('--crop-pct', type=number(float, 0.01, 1), help='evaluation crop, of the resized image')
    group.add_argument('--crop-mode', choices=['center', 'squash', 'border'])
    group.add_argument('--mean', type=float, nargs='+', help='of 0..1 pixels: one number, or one a channel')
    group.add_argument('--std', type=float, nargs='+')
    group.add_argument('--interpolation', choices=['bilinear', 'bicubic', 'nearest', 'lanczos', 'box', 'hamming'])
    group.add_argument('--train-interpolation', default='random',
                       choices=['random', 'bilinear', 'bicubic', 'nearest', 'lanczos', 'box', 'hamming'])
    group.add_argument('--no-aug', action=Switch, default=False, help='no training augmentation')
    group.add_argument('--train-crop-mode', choices=['rrc', 'rkrc', 'rkrr'])
    group.add_argument('--scale', type=POSITIVE, nargs=2, metavar=('MIN', 'MAX'), help='area of a random crop')
    group.add_argument('--ratio', type=POSITIVE, nargs=2, metavar=('MIN', 'MAX'), help='its aspect ratio')
    group.add_argument('--train-pad', type=COUNT, metavar='PIXELS', help='pad by so many black pixels and crop '
                       '--img-size at random, without resizing; in the place of the random resized crop')
    group.add_argument('--hflip', type=FRACTION, default=0.5)
    group.add_argument('--vflip', type=FRACTION, default=0.0)
    group.add_argument('--color-jitter', type=POSITIVE, default=0.4)
    group.add_argument('--aa', help="AutoAugment policy, as timm's: rand-m7-mstd0.5-inc1, ...")
    group.add_argument('--reprob', type=FRACTION, default=0.0, help='random erasing: probability')
    group.add_argument('--remode', choices=['pixel', 'rand', 'const'], default='pixel', help='random erasing: fill')
    group.add_argument('--recount', type=COUNT, default=1, help='random erasing: boxes at most')
    group.add_argument('--mixup', type=POSITIVE, default=0.0, help='mixup alpha')
    group.add_argument('--cutmix', type=POSITIVE, default=0.0, help='cutmix alpha')
    group.add_argument('--cutmix-minmax', type=FRACTION, nargs=2, metavar=('MIN', 'MAX'),
                       help='bounds of the side of a cutmix box')
    group.add_argument('--mixup-prob', type=FRACTION, default=1.0, help='of mixup or cutmix at all')
    group.add_argument('--mixup-switch-prob', type=FRACTION, default=0.5, help='of cutmix, where both are on')
    group.add_argument('--mixup-mode', choices=['batch', 'pair', 'elem'], default='batch')
    group.add_argument('--mixup-off-epoch', type=INDEX, default=0, metavar='EPOCH', help='no mixup from this epoch on')


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('model')
    group.add_argument('--model', default='coded_resnext50_32x4d', help="any of timm's or of timm_coded's")
    group.add_argument('--num-classes', type=COUNT, help="default: the data set's")
    group.add_argument('--model-kwargs', nargs='*', default={}, action=ModelKwargs, metavar='NAME=VALUE')
    group.add_argument('--initial-checkpoint', default='', help='weights to start from; a resumed run has its own')
    group.add_argument('--grad-checkpointing', action=Switch, default=False)
    group.add_argument('--pack-lanes', type=INDEX, help='merge grouped convolutions to so many channels; 0: do not; '
                       'default: 128 on XLA, else 0')
    group.add_argument('--model-ema', action=Switch, default=False, help='keep, evaluate and save the moving average')
    group.add_argument('--model-ema-decay', type=FRACTION, default=0.9998)
    group.add_argument('--model-ema-warmup', action=Switch, default=False, help='a decay that rises to that')
    coded = parser.add_argument_group('coded models only')
    coded.add_argument('--mu', type=POSITIVE, help='weight of the coding loss (Eq. 6); default 2')
    coded.add_argument('--drop-subnn', type=FRACTION, help='p_drop; default 0.1')
    coded.add_argument('--scheme-source', help="'optimal' (default), 'paper', 'search' or a scheme file")
    coded.add_argument('--num-active', type=COUNT, nargs='+', help='active subNNs of a class, a stage each')
    coded.add_argument('--coding-exponent', type=number(float, 1), help='of the coding loss; default 4 (Eq. 5)')
    coded.add_argument('--coding-threshold', type=POSITIVE, help='distance that costs nothing; default 0 (Eq. 5)')
    coded.add_argument('--mask-grads', action=Switch, default=None,
                       help="no gradient into a class's inactive subNNs (with --mu 0: in the place of the coding loss)")
    coded.add_argument('--energy-norm', action=Switch, default=None, help='energy normalisation (Eq. 3); default: on')
    coded.add_argument('--drop-per-block', action=Switch, default=None,
                       help='dropSubNN masks of their own for each block; default: one for each scheme')


def add_optimizer_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('optimizer and schedule')
    group.add_argument('--opt', default='sgd', help="any of timm's optimizers")
    group.add_argument('--opt-eps', type=POSITIVE)
    group.add_argument('--momentum', type=POSITIVE, default=0.9)
    group.add_argument('--weight-decay', type=POSITIVE, default=2e-5)
    group.add_argument('--clip-grad', type=POSITIVE)
    group.add_argument('--clip-mode', choices=['norm', 'value', 'agc'], default='norm')
    group.add_argument('--smoothing', type=FRACTION, default=0.1, help='label smoothing')
    group.add_argument('--lr', type=POSITIVE, default=0.1)
    group.add_argument('--sched', choices=['cosine', 'tanh', 'step', 'multistep', 'poly', 'constant'], default='cosine')
    group.add_argument('--epochs', type=COUNT, default=300, help='cool-down not counted')
    group.add_argument('--warmup-epochs', type=INDEX, default=5)
    group.add_argument('--warmup-lr', type=POSITIVE, default=1e-5)
    group.add_argument('--warmup-prefix', action=Switch, default=False, help='warm-up epochs come on top of --epochs')
    group.add_argument('--min-lr', type=POSITIVE, default=0.0)
    group.add_argument('--cooldown-epochs', type=INDEX, default=0, help='at --min-lr, on top of --epochs')
    group.add_argument('--decay-epochs', type=number(float, 1), default=90.0, help='step schedule')
    group.add_argument('--decay-milestones', type=COUNT, nargs='+', default=[90, 180, 270], help='multistep schedule')
    group.add_argument('--decay-rate', type=POSITIVE, default=0.1)


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('run')
    group.add_argument('--device', choices=['auto', 'xla', 'cpu', 'cuda'], default='auto')
    group.add_argument('--replicas', type=COUNT, metavar='N', help='processes of one device each on this machine; '
                       'default: all chips of a TPU, one elsewhere')
    group.add_argument('--xla-cache', metavar='FOLDER', help='keep compiled graphs there for the next start; TPU only')
    group.add_argument('--replay', action=Switch, help='run a step by the graph of the two before it, without tracing '
                       'it anew (XLA, SGD); not for models whose own Python code changes what it does from '
                       'step to step; default: off on a TPU, where it was never tried, on elsewhere')
    group.add_argument('--amp', action=Switch, default=False, help='mixed precision')
    group.add_argument('--amp-dtype', choices=['bfloat16'], default='bfloat16')
    group.add_argument('--seed', type=INDEX, default=42)
    group.add_argument('--log-interval', type=COUNT, default=50, help='steps')
    group.add_argument('--checkpoint-hist', type=COUNT, default=3, help='how many epochs to keep, beside last and best')
    group.add_argument('--recovery-interval', type=INDEX, default=0, metavar='STEPS',
                       help='write a recovery checkpoint every so many steps')
    group.add_argument('--recovery-minutes', type=POSITIVE, default=30.0, metavar='MINUTES',
                       help='write a recovery checkpoint every so many minutes; 0: do not')
    group.add_argument('--max-hours', type=POSITIVE, metavar='HOURS',
                       help='stop in time: write a recovery checkpoint before so many hours have passed')
    group.add_argument('--allow-non-finite', action=Switch, default=False,
                       help='go on when a loss is infinite or not a number')
    group.add_argument('--output', default='./output/train', metavar='FOLDER')
    group.add_argument('--experiment', default='', help='name of the run, a folder in --output')
    group.add_argument('--resume', default='', metavar='PATH', help="checkpoint whose run goes on, in its folder; "
                       "'auto': --experiment's newest whole one, or a new run where there is none")
    group.add_argument('--override-resume', action=Switch, default=False,
                       help='resume although the model, the scheme or the recipe is another')
    group.add_argument('--eval-only', action=Switch, default=False,
                       help='evaluate --resume or --initial-checkpoint and stop')
    group.add_argument('--log-tensorboard', action=Switch, default=False, help='write TensorBoard files beside the run')
    group.add_argument('--log-wandb', action=Switch, default=False, help='log to Weights & Biases')
    group.add_argument('--profile', type=COUNT, metavar='STEPS', help='trace so many training steps with a profiler')
    group.add_argument('--doctor', action=Switch, default=False,
                       help='look at versions, devices, the model and the loader, say what to expect, and stop')
