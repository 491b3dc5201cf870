"""`timm-coded evaluate`: one pass over a data set, whose outputs other commands read."""
import argparse
from fractions import Fraction

from timm_coded.analysis.accuracy import evaluate_accuracy
from timm_coded.analysis.detection.attacks import Attack
from timm_coded.analysis.outputs import check_coded
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT

from .common import (
    add_checkpoint_arguments,
    add_data_arguments,
    add_output_argument,
    file_name,
    open_foreign,
    open_images,
    open_trained,
    output_folder,
    outputs_of,
    publish_all,
    tell,
)
from .needs import check_packages

DESCRIPTION = (
    'Runs a checkpoint over a data set once. Stores logits, energies of each coded block and targets as '
    'outputs-SPLIT.npz, which decode, calibrate and detect read, and tells the accuracy of the network and of its '
    'early decoders (Fig. 4).'
)
EXAMPLE = '''\
timm-coded evaluate output/train/digits/model_best.pth.tar
timm-coded evaluate output/train/digits/model_best.pth.tar --json | jq .evaluate.tables.accuracy.rows'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument('--foreign', metavar='DATASET[:DATA_DIR]',
                        help='run it over these images, whose classes it does not know, instead: for detect')
    add_output_argument(parser)
    group = parser.add_argument_group(
        'attack', 'in units of pixels from 0 to 1; stores outputs-SPLIT-ATTACK-EPSILON.npz')
    group.add_argument('--attack', choices=['fgsm', 'pgd'], help='run it over adversarial images, made by captum: for '
                                                                 'detect')
    group.add_argument('--epsilon', type=fraction, metavar='E',
                       help='no pixel changes by more; a number or a fraction; default: 8/255')
    group.add_argument('--steps', type=COUNT, metavar='N', help='of PGD; default: 10')
    group.add_argument('--step-size', type=fraction, metavar='E', help='of PGD; default: 2.5 * epsilon / steps')


def fraction(text: str) -> Fraction:
    """'8/255' or '0.03', for argparse."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f'expected a number or a fraction such as 8/255, got {text!r}') from None
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'must be more than 0 and at most 1, the range of a pixel, got {text}')
    return value


def attack_of(args: argparse.Namespace) -> Attack | None:
    """What the flags ask for.

    Raises:
        UserError: they do not go together, or the package that attacks is missing.
    """
    given = [flag for flag in ('epsilon', 'steps', 'step_size') if getattr(args, flag) is not None]
    if given and not args.attack:
        raise UserError(f'--{given[0].replace("_", "-")}: of which --attack?')
    if not args.attack:
        return None
    if args.attack == 'fgsm' and given not in ([], ['epsilon']):
        raise UserError('--attack fgsm is one step of epsilon: leave out --steps and --step-size, or take pgd')
    if args.foreign is not None:
        raise UserError('--attack needs the classes of the images, which --foreign ones do not have: give one of them')
    check_packages('captum')
    args.epsilon = args.epsilon or Fraction(8, 255)
    return Attack(args.attack, float(args.epsilon), args.steps or 10, args.step_size and float(args.step_size))


def run(args: argparse.Namespace) -> int:
    attack = attack_of(args)
    if args.foreign is not None and (args.data_dir or args.dataset):
        raise UserError('--foreign says which images: leave out DATA_DIR and --dataset, or give --foreign '
                        'DATASET:DATA_DIR')
    trained = open_trained(args)
    check_coded(trained.model)
    if attack and trained.device.type == 'xla':
        raise UserError('--attack needs gradients of batch norms in evaluation, which torch_xla does not have: take '
                        '--device cpu or cuda')
    folder = output_folder(args)
    foreign = open_foreign(args, trained, args.split)
    outputs = outputs_of(trained, foreign or open_images(args, trained), foreign is not None, attack)
    name = args.split
    if attack:
        name = f'{args.split}-{args.attack}-{args.epsilon}'
    elif foreign:
        name = args.foreign if args.split == 'validation' else f'{args.foreign}-{args.split}'
    path = folder / f'outputs-{file_name(name)}.npz'
    outputs.save(path)
    found = []
    if not foreign:
        findings = evaluate_accuracy(outputs)
        if attack:
            findings = findings.named(file_name(name.removeprefix(args.split)), f'under {attack}')
        found.append(findings)
    publish_all(found, folder, args.json)
    tell(f'outputs of {len(outputs.targets)} images: {path}')
    return 0
