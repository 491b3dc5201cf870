"""`timm-coded explain`: why a model names a class for an image."""
import argparse
from pathlib import Path

from timm_coded.analysis.calibration.calibrator import load_calibrator
from timm_coded.analysis.explanation import explain
from timm_coded.analysis.outputs import check_coded
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT
from timm_coded.train.trained import Trained

from .common import add_checkpoint_arguments, add_output_argument, file_name, open_trained, output_folder, publish

DESCRIPTION = (
    'For each image the prediction, that of each early decoder, the energies of the subNNs against the codewords of '
    'the predicted class and of the runner-up, and the subNNs that tell the two apart; as a picture and as JSON. '
    'Example: timm-coded explain output/train/digits/model_best.pth.tar three.png'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files')
    parser.add_argument('--img-size', type=COUNT, help='pixels; default: those of the evaluation while training')
    parser.add_argument('--calibrator', metavar='FILE',
                        help='calibrator.json of timm-coded calibrate, for calibrated probabilities')
    parser.add_argument('--class-names', type=Path, metavar='FILE',
                        help="one name a line, in the classes' order; default: those of the training's data set where "
                             'it can be opened, else their numbers')
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
    names = read_names(args.class_names, trained) if args.class_names else data_set_names(trained)
    folder = output_folder(args)
    for name, image in images.items():
        pixels = trained.pixels(image)[0].permute(1, 2, 0).numpy()
        findings = explain(trained.model, image, pixels, name, names, calibrator)
        if calibrator and calibrator.about.get('at_bound'):
            findings.notes.append('The fit of the calibrator had no maximum, for want of wrong predictions: do not '
                                  'trust the calibrated probabilities.')
        publish(findings, folder)
    return 0


def read_names(path: Path, trained: Trained) -> list[str]:
    """Raises UserError: the file cannot be read, or has not one name for each class."""
    try:
        names = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'cannot read --class-names {path}: {error}') from error
    if len(names) != trained.model.num_classes:
        raise UserError(f'--class-names {path} has {len(names)} lines, the model {trained.model.num_classes} classes: '
                        'give one name a line')
    return names


def data_set_names(trained: Trained) -> list[str]:
    """Those of the training's data set; none where it is not at hand or does not tell."""
    try:
        return trained.images().class_names
    except UserError:
        return []
