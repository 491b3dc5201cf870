"""What the commands share: flags for a checkpoint and its images, and where findings go."""
import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Iterable

from torch import Tensor

from timm_coded.analysis.findings import Findings
from timm_coded.analysis.outputs import Outputs, collect_outputs
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT, INDEX
from timm_coded.train.trained import Images, Trained, load_trained

if TYPE_CHECKING:  # it needs captum, which only the commands that attack do
    from timm_coded.analysis.detection.attacks import Attack


def add_checkpoint_arguments(parser: argparse.ArgumentParser, required: bool = True, device: bool = True) -> None:
    """CHECKPOINT, or --checkpoint where it is not required, and how to read and run it; on the CPU without `device`."""
    parser.add_argument('checkpoint' if required else '--checkpoint', metavar='CHECKPOINT',
                        help='of train_xla.py, or with --model any weights')
    group = parser.add_argument_group('model')
    group.add_argument('--model', help='of which model of the registry the file holds the weights; read from it where '
                                       'train_xla.py wrote it')
    group.add_argument('--use-ema', action='store_true', help='take the moving average of the weights')
    if device:
        group.add_argument('--device', default='cpu', choices=['cpu', 'cuda', 'xla', 'auto'],
                           help="default: cpu; 'auto' is the first of xla, cuda, cpu that is there")
    else:
        parser.set_defaults(device='cpu')


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """DATA_DIR, and which images; by default those that the checkpoint was validated on."""
    parser.add_argument('data_dir', nargs='?', metavar='DATA_DIR', help="folder of the images; default: the training's")
    group = parser.add_argument_group('images')
    group.add_argument('--dataset', help="as for train_xla.py; default: the training's")
    group.add_argument('--split', default='validation', help='default: validation')
    group.add_argument('--img-size', type=COUNT, help='pixels; default: those of the evaluation while training')
    group.add_argument('--skip-corrupt', type=INDEX, metavar='N', help="default: the training's, 0 but for that")
    group.add_argument('-b', '--batch-size', type=COUNT, help="default: the training's of evaluation")
    group.add_argument('-j', '--workers', type=INDEX, help="loader processes; default: the training's")


def add_output_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--output', type=Path, metavar='FOLDER',
                        help='where the files go; default: a folder `analysis` beside the input')


def open_trained(args: argparse.Namespace) -> Trained:
    data_args = {'eval_img_size': getattr(args, 'img_size', None), 'skip_corrupt': getattr(args, 'skip_corrupt', None)}
    return load_trained(args.checkpoint, args.device, args.model, data_args, args.use_ema)


def open_images(args: argparse.Namespace, trained: Trained, split: str | None = None) -> Images:
    """The images that the flags name; `split` in the place of --split."""
    return trained.images(
        split or args.split, args.dataset, args.data_dir, batch_size=args.batch_size, workers=args.workers)


def open_foreign(args: argparse.Namespace, trained: Trained, split: str = 'validation') -> Images | None:
    """The images of --foreign, of classes that the model does not know: DATASET, DATASET:DATA_DIR or :DATA_DIR."""
    if args.foreign is None:
        return None
    dataset, _, data_dir = args.foreign.partition(':')
    return trained.images(
        split, dataset, data_dir or None, foreign=True, batch_size=args.batch_size, workers=args.workers)


def outputs_of(trained: Trained, images: Images, foreign: bool = False, attack: 'Attack | None' = None) -> Outputs:
    """One pass, over attacked images if an attack is given; what `foreign` means is in `collect_outputs`."""
    about = {
        'checkpoint': str(trained.path), 'model': trained.args.model, 'images': images.name,
        'img_size': trained.image_size,
    }
    batches: Iterable[tuple[Tensor, Tensor]] = images
    if attack:
        from timm_coded.analysis.detection.attacks import Attacked
        about |= {'attack': str(attack), 'batch_size': images.batch_size}  # which the random starts depend on
        batches = Attacked(trained.model, images, attack, trained.config['mean'], trained.config['std'])
    return collect_outputs(trained.model, batches, images.class_names, about, foreign)


def output_folder(args: argparse.Namespace) -> Path:
    """Where the files go; made at once, so that a long analysis does not end at a folder that cannot be written to.

    Raises:
        UserError: it cannot be.
    """
    source = Path(getattr(args, 'outputs', None) or args.checkpoint)
    return make_folder(args.output or (
        source.parent if source.parent.name == 'analysis' else source.parent / 'analysis'))


def make_folder(folder: Path) -> Path:
    """Makes a folder that files will go to, before the work that takes minutes.

    Raises:
        UserError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / '.writable').touch()
        (folder / '.writable').unlink()
    except OSError as error:
        raise UserError(f'cannot write to --output {folder}: {error.strerror}') from error
    return folder


def publish(findings: Findings, folder: Path) -> None:
    """Writes all files and prints the tables; in this order, so that a pipe that ends early costs no file."""
    paths = findings.write(folder)
    print(findings.text())
    print('\nwritten: ' + ', '.join(map(str, paths)))


def file_name(text: str) -> str:
    """`text` as part of a file's name."""
    return ''.join(letter if letter.isalnum() else '-' for letter in text).strip('-')


def find_class(text: str, names: list[str]) -> int:
    """The index that `text` is, or that of the class of this name."""
    index = as_index(text)
    if index is not None:
        return index
    if names.count(text) != 1:
        near = difflib.get_close_matches(text, names, n=3)
        raise UserError(f'the data set has {names.count(text) or "no"} classes of the name {text!r}'
                        + (f'; did you mean {" or ".join(near)}?' if near else ': give a class index'))
    return names.index(text)


def as_index(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
