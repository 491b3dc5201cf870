"""`timm-coded calibrate`: temperature scaling that knows the early decoders, from stored outputs."""
import argparse

from timm_coded.analysis.calibration.calibrate import calibrate
from timm_coded.analysis.outputs import load_outputs
from timm_coded.train.flags import COUNT, INDEX

from .common import add_output_argument, output_folder, publish, tell

DESCRIPTION = (
    'Fits temperature scaling, Eq. (10), and the one that knows the early decoders, Eq. (11), to a part of the outputs '
    'that `timm-coded evaluate` stored, and tests them on the rest, over many stratified splits (Appendix C, Table 6). '
    'Writes calibrator.json, fitted to all of them: timm_coded.analysis.calibration.load_calibrator(path).predict('
    'model, images) gives calibrated probabilities.'
)
EXAMPLE = 'timm-coded calibrate output/train/digits/analysis/outputs-validation.npz'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('outputs', metavar='OUTPUTS', help='.npz file of `timm-coded evaluate`')
    parser.add_argument('--draws', type=COUNT, default=41, metavar='N',
                        help='how often to draw which part it is fitted to, 2 at least; default: 41')
    parser.add_argument('--seed', type=INDEX, default=0, help='of the draws; default: 0')
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    outputs = load_outputs(args.outputs)
    folder = output_folder(args)
    findings, calibrator = calibrate(outputs, args.draws, args.seed)
    path = folder / 'calibrator.json'
    calibrator.save(path)
    publish(findings, folder, args.json)
    tell(f'calibrator: {path}')
    return 0
