"""`timm-coded detect`: scores that tell samples which the model should not trust."""
import argparse
from pathlib import Path

from timm_coded.analysis.detection.detect import detect
from timm_coded.analysis.outputs import Outputs, load_outputs
from timm_coded.train.errors import UserError

from .common import add_output_argument, output_folder, publish

DESCRIPTION = (
    'Tells how well the distance of the energies from the codewords and the disagreement of the early decoders detect '
    'samples that the model should not trust, beside max-softmax and the energy score: its own wrong predictions, '
    'images of foreign classes and attacked images.'
)
EXAMPLE = '''\
timm-coded evaluate output/train/digits/model_best.pth.tar
timm-coded evaluate output/train/digits/model_best.pth.tar --foreign letters
timm-coded evaluate output/train/digits/model_best.pth.tar --attack pgd
timm-coded detect output/train/digits/analysis/outputs-validation.npz \\
    --against output/train/digits/analysis/outputs-{letters,validation-pgd-8-255}.npz'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('outputs', metavar='OUTPUTS',
                        help=".npz file of `timm-coded evaluate`, of images of the model's classes")
    parser.add_argument('--against', nargs='+', default=[], metavar='OUTPUTS',
                        help='.npz files of `timm-coded evaluate` with --foreign or --attack and the same checkpoint')
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    outputs = load_outputs(args.outputs)
    against = load_against(args.against)
    findings = detect(outputs, against)
    publish(findings, output_folder(args), args.json)
    return 0


def load_against(paths: list[str]) -> dict[str, Outputs]:
    """Outputs by the part of the file's name that tells them from others."""
    found = {}
    for path in paths:
        name = Path(path).stem.removeprefix('outputs-')
        if name in found:
            raise UserError(f'--against has two files named {name}: rename one, the tables tell them by it')
        found[name] = load_outputs(path)
    return found
