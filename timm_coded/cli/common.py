"""What the commands share: flags for a checkpoint and its images, and where findings go."""
import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any, Iterable, Sequence

from torch import Tensor

from timm_coded.analysis.detection.attacks import Attack, Attacked
from timm_coded.analysis.findings import Findings, as_plain
from timm_coded.analysis.outputs import Outputs, collect_outputs
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT, INDEX, ModelKwargs
from timm_coded.train.trained import Images, Trained, load_trained


def add_checkpoint_arguments(parser: argparse.ArgumentParser, required: bool = True, device: bool = True) -> None:
    """CHECKPOINT, or --checkpoint where it is not required, and how to read and run it; on the CPU without `device`."""
    parser.add_argument('checkpoint' if required else '--checkpoint', metavar='CHECKPOINT',
                        help='file of train_xla.py, or with --model of any weights')
    group = parser.add_argument_group('model')
    group.add_argument('--model', help='of which model of the registry the file holds the weights; read from it where '
                                       'train_xla.py wrote it')
    group.add_argument('--model-kwargs', nargs='+', action=ModelKwargs, metavar='NAME=VALUE',
                       help='with --model: arguments that the model was made with, such as num_active=10,4,2')
    for flag in ('--mean', '--std'):
        group.add_argument(flag, type=float, nargs='+', metavar='X', help='with --model: of the 0..1 pixels that the '
                           "weights were trained with, one number, or one a channel; default: the model's own")
    group.add_argument('--use-ema', action='store_true', help='take the moving average of the weights')
    if device:
        add_device_argument(group)
    else:
        parser.set_defaults(device='cpu')


def add_device_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument('--device', default='cpu', choices=['auto', 'xla', 'cpu', 'cuda'],
                        help="where it runs; 'auto' is the first of xla, cuda, cpu that is there; default: cpu")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """DATA_DIR, and which images; by default those that the checkpoint was validated on."""
    parser.add_argument('data_dir', nargs='?', metavar='DATA_DIR', help="folder of the images; default: the training's")
    group = parser.add_argument_group('images')
    group.add_argument('--dataset', help="what kind of data set, as for train_xla.py; default: the training's")
    group.add_argument('--split', default='validation',
                       help="which of the data set's images: validation, train or another; default: validation")
    add_img_size_argument(group)
    group.add_argument('--skip-corrupt', type=INDEX, metavar='N',
                       help="leave out up to N images that cannot be read; default: the training's, else 0")
    group.add_argument('-b', '--batch-size', type=COUNT, metavar='B',
                       help='images at a time; default: that of the evaluation while training')
    group.add_argument('-j', '--workers', type=INDEX, metavar='N', help="loader processes; default: the training's")


def add_img_size_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument('--img-size', type=COUNT, metavar='PIXELS',
                        help='side of the images; default: that of the evaluation while training')


def add_output_argument(parser: argparse.ArgumentParser, default: Path | None = None) -> None:
    """--output of a command with several files, by default beside its input, and --json."""
    parser.add_argument('--output', type=Path, metavar='FOLDER', default=default,
                        help=f'where the files go; default: {default or "a folder analysis beside the input"}')
    add_json_argument(parser)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--json', action='store_true',
                        help="print the tables as JSON: an object with what each NAME.json holds, by NAME")


def open_trained(args: argparse.Namespace) -> Trained:
    """The model of CHECKPOINT; says what it takes for granted of weights that do not tell their images."""
    size = getattr(args, 'img_size', None)
    told = {'model_kwargs': args.model_kwargs, 'mean': args.mean, 'std': args.std}
    given = ', '.join('--' + name.replace('_', '-') for name, value in told.items() if value is not None)
    if given and not args.model:
        raise UserError(f'{given}: for weights of --model; a checkpoint of train_xla.py says itself how it was trained')
    flags = {**told, 'eval_img_size': size, 'skip_corrupt': getattr(args, 'skip_corrupt', None)}
    if args.model:
        flags['img_size'] = size
    trained = load_trained(args.checkpoint, args.device, args.model, flags, args.use_ema)
    if args.model and None in (size, args.mean, args.std):
        mean, std = (', '.join(f'{x:.4g}' for x in trained.config[name]) for name in ('mean', 'std'))
        tell(f'{args.checkpoint} does not say how its images were prepared; taken for granted: {trained.image_size} '
             f'pixels (--img-size), mean {mean} (--mean), standard deviation {std} (--std)')
    return trained


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


def outputs_of(trained: Trained, images: Images, foreign: bool = False, attack: Attack | None = None) -> Outputs:
    """One pass, over attacked images if an attack is given; what `foreign` means is in `collect_outputs`."""
    about = {
        'checkpoint': str(trained.path), 'model': trained.args.model, 'images': images.name,
        'img_size': trained.image_size,
    }
    batches: Iterable[tuple[Tensor, Tensor]] = images
    if attack:
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


def make_folder(folder: Path, flag: str = '--output') -> Path:
    """Makes a folder that files will go to, before the work that takes minutes.

    Args:
        flag: that named it.

    Raises:
        UserError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / '.writable').touch()
        (folder / '.writable').unlink()
    except OSError as error:
        raise UserError(f'cannot write to {flag} {folder}: {error.strerror}') from error
    return folder


def publish(findings: Findings, folder: Path, as_json: bool = False) -> None:
    """Writes all files and prints the tables, as text or as JSON."""
    publish_all([findings], folder, as_json)


def publish_all(found: Iterable[Findings], folder: Path, as_json: bool) -> None:
    """The same for several, each as soon as it is there; files first, so that a pipe that ends early costs none."""
    contents = {}
    for findings in found:
        paths = findings.write(folder)
        if not as_json:
            print(findings.text() + '\n', flush=True)
        contents[findings.name] = findings.content()
        tell('written: ' + ', '.join(map(str, paths)))
    if as_json:
        print_json(contents)


def print_json(contents: dict[str, Any]) -> None:
    print(json.dumps(contents, indent=1, allow_nan=False, default=as_plain), flush=True)


def tell(text: str) -> None:
    """What is not the result itself: on stderr, out of the way of who pipes the result on."""
    print(text, file=sys.stderr, flush=True)


def check_once(models: Sequence[str]) -> None:
    """Raises UserError: a model is named twice, and the rows of a table would not tell which is which."""
    doubles = sorted({name for name in models if models.count(name) > 1})
    if doubles:
        raise UserError(f'{", ".join(doubles)} is named twice, by itself or by --num-active and --model-kwargs: name '
                        'each model once')


def file_name(text: str) -> str:
    """`text` as part of a file's name."""
    return ''.join(letter if letter.isalnum() else '-' for letter in text).strip('-')


def add_class_names_argument(parser: argparse.ArgumentParser, otherwise: str = 'their indices') -> None:
    """--class-names; `otherwise` says what takes the place of names that nothing tells."""
    parser.add_argument('--class-names', type=Path, metavar='FILE',
                        help="one name a line, in the classes' order; default: those of the training's data set where "
                             f'it can be opened, else {otherwise}')


def read_names(path: Path, num_classes: int) -> list[str]:
    """Raises UserError: the file cannot be read, or has not one name for each class."""
    try:
        names = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'cannot read --class-names {path}: {error}') from error
    if len(names) != num_classes:
        raise UserError(f'--class-names {path} has {len(names)} lines, the model {num_classes} classes: give one name '
                        'a line')
    return names


def class_names_of(args: argparse.Namespace, trained: Trained) -> list[str]:
    """The names of --class-names, else those of the training's data set."""
    if args.class_names:
        return read_names(args.class_names, trained.model.num_classes)
    return data_set_names(trained)


def data_set_names(trained: Trained) -> list[str]:
    """Those of the training's data set; none where it is not at hand or does not tell."""
    try:
        return trained.images().class_names
    except UserError:
        return []


def find_class(text: str, names: list[str]) -> int:
    """The index that `text` is, or that of the class of this name."""
    index = as_index(text)
    if index is not None:
        return index
    same = [index for index, name in enumerate(names) if name == text]
    if len(same) > 1:
        raise UserError(f'there are {len(same)} classes of the name {text!r}: give one of the indices '
                        f'{", ".join(map(str, same))}')
    if not same:
        near = difflib.get_close_matches(text, names, n=3)
        raise UserError(f'there is no class of the name {text!r}'
                        + (f'; did you mean {" or ".join(near)}?' if near else ': give a class index'))
    return same[0]


def as_index(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
