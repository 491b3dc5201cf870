"""`timm-coded decode`: early decoders, their agreement, and leaving early."""
import argparse

from timm_coded.analysis.accuracy import check_targets
from timm_coded.analysis.exits.early_decoding import RULES, check_same_model, decode_early
from timm_coded.analysis.exits.early_exit import Agreement, Margin, check_rule
from timm_coded.analysis.exits.exit_cost import spread_images
from timm_coded.analysis.outputs import Outputs, load_outputs
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT
from timm_coded.train.trained import Images, Trained

from .common import (
    add_checkpoint_arguments,
    add_data_arguments,
    add_output_argument,
    open_images,
    open_trained,
    output_folder,
    publish,
)

DESCRIPTION = (
    'From the outputs that `timm-coded evaluate` stored: accuracy of each early decoder, accuracy of the network by '
    'the number of early decoders that agree with it (Table 3), and simulated curves of leaving early. With '
    '--checkpoint it runs a network that in fact leaves early over images, and measures its time.'
)
EXAMPLE = '''\
timm-coded decode output/train/digits/analysis/outputs-validation.npz
timm-coded decode output/train/digits/analysis/outputs-validation.npz \\
    --checkpoint output/train/digits/model_best.pth.tar'''
MARGINS = [rule.threshold for rule in RULES if isinstance(rule, Margin)]
AGREEMENTS = [rule.count for rule in RULES if isinstance(rule, Agreement)]
MEASUREMENT = ('margins', 'agreements', 'timed_batch_sizes', 'repeats', 'images', 'timed')  # need --checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('outputs', metavar='OUTPUTS', help='.npz file of `timm-coded evaluate`')
    add_checkpoint_arguments(parser, required=False)
    add_data_arguments(parser)
    group = parser.add_argument_group('early exit, with --checkpoint')
    group.add_argument('--margins', type=float, nargs='*', metavar='M',
                       help=f'thresholds of the margin, from 0 to 1; default: {" ".join(map(str, MARGINS))}')
    group.add_argument('--agreements', type=COUNT, nargs='*', metavar='N',
                       help=f'coded blocks in succession that agree; default: {" ".join(map(str, AGREEMENTS))}')
    group.add_argument('--timed-batch-sizes', type=COUNT, nargs='+', metavar='B',
                       help='how many are timed at a time; default: 1 64')
    group.add_argument('--repeats', type=COUNT, metavar='N', help='how often each is timed; default: 5')
    group.add_argument('--images', type=COUNT, metavar='S', help='how many images, evenly spread; default: 512')
    group.add_argument('--timed', type=COUNT, metavar='S', help='how many of them are timed; default: 64')
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    outputs = load_outputs(args.outputs)
    check_targets(outputs)
    if args.checkpoint is None:
        check_no_measurement(args)
        publish(decode_early(outputs), output_folder(args), args.json)
        return 0
    rules = chosen_rules(args)
    for rule in rules if args.agreements else ():
        check_rule(rule, len(outputs.blocks))
    trained = open_trained(args)
    check_same_model(outputs, trained.model)
    folder = output_folder(args)
    images = open_images(args, trained)
    check_same_images(outputs, trained, images)
    sample = spread_images(images, images.num_images, args.images or 512)
    findings = decode_early(
        outputs, trained.model, sample, rules, args.timed_batch_sizes or (1, 64), args.repeats or 5, args.timed or 64)
    publish(findings, folder, args.json)
    return 0


def check_same_images(outputs: Outputs, trained: Trained, images: Images) -> None:
    """Raises UserError: the outputs are not those of these images, and would be compared with others'."""
    about = outputs.about
    if about.get('attack') or (about.get('images'), about.get('img_size')) != (images.name, trained.image_size):
        attacked = f', after {about["attack"]}' if about.get('attack') else ''
        raise UserError(f'the outputs are of {about.get("images")} in {about.get("img_size")} pixels{attacked}, not of '
                        f'{images.name} in {trained.image_size}: give the same images, by --split, --img-size, ...')


def chosen_rules(args: argparse.Namespace) -> list[Margin | Agreement]:
    margins = MARGINS if args.margins is None else args.margins
    agreements = AGREEMENTS if args.agreements is None else args.agreements
    return [*map(Margin, margins), *map(Agreement, agreements)]


def check_no_measurement(args: argparse.Namespace) -> None:
    """Raises UserError: a flag is given that only a run of the network reads."""
    names = (*MEASUREMENT, 'data_dir', 'dataset', 'img_size', 'skip_corrupt', 'batch_size', 'workers', 'model',
             'model_kwargs', 'mean', 'std')
    others = {'split': 'validation', 'device': 'cpu', 'use_ema': False}
    for name in (*names, *others):
        if getattr(args, name) != others.get(name):
            flag = 'DATA_DIR' if name == 'data_dir' else '--' + name.replace('_', '-')
            raise UserError(f'{flag} is for running the network: give --checkpoint with it, or leave it out')
