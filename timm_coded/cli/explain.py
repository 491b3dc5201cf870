"""`timm-coded explain`: why a model names a class for an image."""
import argparse
from pathlib import Path

from torch import Tensor

from timm_coded.analysis.calibration.calibrator import Calibrator, load_calibrator
from timm_coded.analysis.explanation import explain
from timm_coded.analysis.findings import Findings
from timm_coded.analysis.outputs import check_coded
from timm_coded.train.errors import UserError
from timm_coded.train.trained import Trained

from .common import (
    add_checkpoint_arguments,
    add_class_names_argument,
    add_img_size_argument,
    add_output_argument,
    class_names_of,
    file_name,
    open_trained,
    output_folder,
    publish_all,
)

DESCRIPTION = (
    'For each image the prediction, that of each early decoder, the energies of the subNNs against the codewords of '
    'the predicted class and of the runner-up, and the subNNs that tell the two apart; as a picture and as JSON.'
)
EXAMPLE = 'timm-coded explain output/train/digits/model_best.pth.tar three.png'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files')
    add_img_size_argument(parser)
    parser.add_argument('--calibrator', metavar='FILE',
                        help='calibrator.json of `timm-coded calibrate`, for calibrated probabilities')
    add_class_names_argument(parser)
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    trained = open_trained(args)
    check_coded(trained.model)
    calibrator = load_calibrator(args.calibrator) if args.calibrator else None
    if calibrator:
        calibrator.check(trained.model)
    images = {file_name(Path(path).stem): trained.read_image(path) for path in args.images}
    if len(images) < len(args.images):
        raise UserError('two of the images have the same name, and so would their files: explain them in turn, with '
                        'another --output')
    names = class_names_of(args, trained)
    folder = output_folder(args)
    publish_all((explained(trained, image, name, names, calibrator) for name, image in images.items()), folder,
                args.json)
    return 0


def explained(
        trained: Trained,
        image: Tensor,
        name: str,
        class_names: list[str],
        calibrator: Calibrator | None,
) -> Findings:
    pixels = trained.pixels(image)[0].permute(1, 2, 0).numpy()
    findings = explain(trained.model, image, pixels, name, class_names, calibrator)
    if calibrator and calibrator.about.get('at_bound'):
        findings.notes.append('The fit of the calibrator had no maximum, for want of wrong predictions: do not '
                              'trust the calibrated probabilities.')
    return findings
