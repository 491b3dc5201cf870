"""The flags of the commands that write a network for use without this package, and the writing."""
import argparse
from pathlib import Path
from typing import Any, Callable, Mapping

from torch import nn

from timm_coded.export import check_onnx, check_stablehlo, export_onnx, export_program, export_stablehlo
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT

from .common import make_folder, tell

FLAGS = {'onnx': '--onnx', 'torch_export': '--torch-export', 'stablehlo': '--stablehlo'}


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'export', "each file is run and compared with the network once it is written")
    group.add_argument('--onnx', type=Path, metavar='FILE.onnx', help='an ONNX file, for any number of images')
    group.add_argument('--torch-export', type=Path, metavar='FILE.pt2',
                       help='a program of torch.export, for any number of images')
    group.add_argument('--stablehlo', type=Path, metavar='FOLDER',
                       help='StableHLO by torch_xla, for XLA, for --stablehlo-batch-size images')
    group.add_argument('--stablehlo-batch-size', type=COUNT, default=1, metavar='N',
                       help='images at a time of --stablehlo; default: %(default)s')
    group.add_argument('--energies', action='store_true',
                       help="with the logits, the energies of each coded block and its early decoder's class")


def exported_paths(args: argparse.Namespace) -> dict[str, Path]:
    """Where to export to, by format."""
    return {name: path for name in FLAGS if (path := getattr(args, name)) is not None}


def check_export(args: argparse.Namespace) -> None:
    """Raises UserError or ValueError, before anything slow: packages are missing, or a path cannot be written to."""
    paths = exported_paths(args)
    if 'onnx' in paths:
        check_onnx()
    if 'stablehlo' in paths:
        check_stablehlo()
    if args.energies and not paths:
        raise UserError(f'--energies is of exported files: give one of {", ".join(FLAGS.values())}')
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise UserError(f'{" and ".join(FLAGS[name] for name in paths)} name the same file: give each another name')
    for name, path in paths.items():
        if name != 'stablehlo' and path.is_dir():
            raise UserError(f'{FLAGS[name]} {path} is a folder: give the name of a file')
        if name == 'stablehlo' and path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise UserError(f'--stablehlo {path} is there already: give the name of a folder to make, or an empty one')
        make_folder(path.parent, FLAGS[name])


def export_files(
        args: argparse.Namespace,
        network: nn.Module,
        config: Mapping[str, Any],
        classes: list[int],
        names: list[str],
        about: Mapping[str, Any],
) -> None:
    """Writes what the flags ask for, and tells of each file how far its outputs are from the network's.

    Args:
        config: timm's data config, of the images.
        classes: what the logits are of, indices of the model's classes.
        names: of these classes, or none.
        about: what else the files are to say.
    """
    exporters: dict[str, Callable[..., float]] = {
        'onnx': export_onnx, 'torch_export': export_program, 'stablehlo': export_stablehlo}
    paths = exported_paths(args)
    image_size = config['input_size'][-1]
    about = {**about, **describe_images(config, classes, names)}
    for name, path in paths.items():
        batch = {'batch_size': args.stablehlo_batch_size} if name == 'stablehlo' else {}
        difference = exporters[name](network, image_size, path, energies=args.energies, about=about, **batch)
        images = f'{args.stablehlo_batch_size}' if batch else 'any number of'
        outputs = 'logits, energies and early decoders' if args.energies else 'logits'
        tell(f'exported: {path}, {megabytes(path):.1f} MB, {images} images of {image_size} pixels, {outputs}: at most '
              f'{difference:.1g} from the network\'s')
    if paths and not names:
        tell("class names: the indices, as the training's images are not at hand; --class-names FILE gives others")


def megabytes(path: Path) -> float:
    files = path.rglob('*') if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def describe_images(config: Mapping[str, Any], classes: list[int], names: list[str]) -> dict[str, Any]:
    """What stands in an exported file: how its images are made, and what its logits are, a name for each."""
    taken = ('input_size', 'mean', 'std', 'interpolation', 'crop_pct', 'crop_mode')
    return {**{name: config[name] for name in taken if name in config}, 'classes': classes,
            'class_names': names or [str(index) for index in classes]}
