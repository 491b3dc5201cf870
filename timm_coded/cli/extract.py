"""`timm-coded extract`: cuts the network of one class or several out of a checkpoint."""
import argparse
from pathlib import Path

from timm_coded.analysis.extraction.compare import evaluate_extraction
from timm_coded.analysis.extraction.extract import check_classes, extract_classes
from timm_coded.analysis.extraction.extracted_file import Extracted, save_extracted
from timm_coded.analysis.extraction.latency import check_timed
from timm_coded.analysis.extraction.restricted import check_several
from timm_coded.analysis.outputs import check_coded, fingerprint
from timm_coded.analysis.thresholds import read_threshold
from timm_coded.train.build import CODED_MODEL_FLAGS
from timm_coded.train.errors import UserError
from timm_coded.train.flags import INDEX
from timm_coded.train.trained import Images, Trained

from .common import (
    add_checkpoint_arguments,
    add_class_names_argument,
    add_data_arguments,
    add_json_argument,
    as_index,
    class_names_of,
    file_name,
    find_class,
    open_images,
    open_trained,
    output_folder,
    publish,
    tell,
)
from .export_flags import add_export_arguments, check_export, export_files, exported_paths

DESCRIPTION = (
    'Cuts the sub-network of one class, or of several, out of a checkpoint: a smaller network that gives the logits of '
    'these classes only, in a file that timm_coded.load_extracted(FILE) rebuilds it from (Section 4.3). Tells its size '
    "and its measured time beside the full network's."
)
EXAMPLE = '''\
timm-coded extract output/train/digits/model_best.pth.tar --classes 3
timm-coded extract output/train/digits/model_best.pth.tar --classes 3 8 --accuracy --onnx three-or-eight.onnx'''
NAMED_IN_FILE = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument('--classes', nargs='+', required=True, metavar='CLASS',
                        help='one or more, indices or names')
    add_class_names_argument(parser)
    parser.add_argument('--thresholds', type=Path, metavar='FILE',
                        help='classifiers.json of `timm-coded classify`: the threshold of the class is stored '
                             'with the network')
    parser.add_argument('--accuracy', action='store_true',
                        help='run two classes or more over their images, beside the full network restricted to them')
    parser.add_argument('--repeats', type=INDEX, default=10, metavar='N',
                        help='how often the time of a forward pass is measured, 0 for never; default: %(default)s')
    parser.add_argument('--output', type=Path, metavar='FILE.pth',
                        help='the network; the tables go to a folder of that name without the ending; default: '
                             'analysis/extracted-CLASSES.pth beside the checkpoint')
    add_export_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    check_export(args)
    trained = open_trained(args)
    check_coded(trained.model)
    images = open_needed_images(args, trained)
    names = images.class_names if images and not args.class_names else class_names_of(args, trained)
    classes = check_classes(trained.model, [find_class(text, names) for text in args.classes])
    if args.accuracy:
        check_several(classes)
    if args.repeats:
        check_timed(trained.device)
    extracted = describe(args, trained, classes, names)
    path = output_path(args)
    network = extract_classes(trained.model, classes)
    save_extracted(network, extracted, path)
    tell(f'network: {path}')
    if len(classes) == 1 and not args.thresholds:
        tell('without a threshold, which yes or no needs: `timm-coded classify` finds it, --thresholds takes it in')
    export_files(args, network, extracted.data_config, classes, extracted.class_names,
                 {'architecture': extracted.arch, 'threshold': extracted.threshold})
    publish(evaluate_extraction(
        trained.model, network, classes, extracted.data_config['input_size'][-1], extracted.class_names, args.repeats,
        images if args.accuracy else None), path.with_suffix(''), args.json)
    return 0


def open_needed_images(args: argparse.Namespace, trained: Trained) -> Images | None:
    """The images, where the user gave some, or class names or accuracy need those of the training."""
    names = [] if args.class_names else [text for text in args.classes if as_index(text) is None]
    needed = names or args.accuracy or args.data_dir is not None or args.dataset is not None
    try:
        return open_images(args, trained) if needed else None
    except UserError as error:
        if not names:
            raise
        raise UserError(f'{", ".join(names)}: no class index, and no names of classes are at hand ({error}): give '
                        'indices, or --class-names FILE') from error


def describe(args: argparse.Namespace, trained: Trained, classes: list[int], names: list[str]) -> Extracted:
    """What the file says of the network."""
    flags = {flag: getattr(trained.args, flag) for flag in CODED_MODEL_FLAGS}
    kwargs = {**flags, **trained.args.model_kwargs, 'scheme_source': None}
    size = trained.args.eval_img_size or trained.config['input_size'][-1]
    source = fingerprint(trained.model)
    if args.thresholds and len(classes) > 1:
        raise UserError('--thresholds are of the networks of one class, that of several has other logits: extract the '
                        'classes one by one, or leave --thresholds out')
    return Extracted(
        trained.model.pretrained_cfg['architecture'],
        classes,
        {name: value for name, value in kwargs.items() if value is not None},
        [names[index] for index in classes] if names else [],
        trained.model.num_classes,
        {**trained.config, 'input_size': (3, size, size)},
        read_threshold(args.thresholds, source, classes[0]) if args.thresholds else None,
        source,
    )


def output_path(args: argparse.Namespace) -> Path:
    """Where the network goes; the folders of its files are made at once.

    Raises:
        OSError: one cannot be made.
        UserError: that of --output cannot be written to, or its file has no ending, by which the two names differ.
    """
    exported = [file.resolve() for file in exported_paths(args).values()]
    if args.output and args.output.resolve() in exported:
        raise UserError(f'--output and an exported file are both {args.output}: give each another name')
    if args.output and args.output.is_dir():
        raise UserError(f'--output {args.output} is a folder: give the name of a file')
    if args.output and not args.output.suffix:
        raise UserError(f'--output {args.output} is the file of the network: give it an ending, such as .pth')
    named = '-'.join(map(file_name, args.classes)) if len(args.classes) <= NAMED_IN_FILE else (
        f'{len(args.classes)}-classes')
    folder = output_folder(argparse.Namespace(
        checkpoint=args.checkpoint, output=args.output.parent if args.output else None))
    path = args.output or folder / f'extracted-{named}.pth'
    path.with_suffix('').mkdir(exist_ok=True)  # of the tables
    return path
