"""`timm-coded export`: writes the network of a checkpoint as ONNX, torch.export or StableHLO."""
import argparse

from timm_coded.models import coded_blocks
from timm_coded.train.errors import UserError

from .common import (
    add_checkpoint_arguments,
    add_class_names_argument,
    add_img_size_argument,
    class_names_of,
    open_trained,
)
from .export_flags import FLAGS, add_export_arguments, check_export, export_files, exported_paths

DESCRIPTION = (
    'Writes the whole network of a checkpoint to files that run without timm_coded; each is run once it is written, '
    'and its outputs are compared with the network\'s. `timm-coded extract` does it for the network of some classes.'
)
EXAMPLE = '''\
timm-coded export output/train/digits/model_best.pth.tar --onnx digits.onnx --energies
timm-coded export output/train/digits/model_best.pth.tar --stablehlo digits --stablehlo-batch-size 8'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser, device=False)
    add_img_size_argument(parser)
    add_class_names_argument(parser)
    add_export_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if not exported_paths(args):
        raise UserError(f'nothing to write: give one of {", ".join(FLAGS.values())}')
    check_export(args)
    trained = open_trained(args)
    if args.energies and not coded_blocks(trained.model):
        raise UserError(f'{trained.args.model} has no coded blocks, and so no energies: leave out --energies')
    size = trained.image_size
    config = {**trained.config, 'input_size': (3, size, size)}
    classes = list(range(trained.model.num_classes))
    export_files(args, trained.model, config, classes, class_names_of(args, trained),
                 {'architecture': trained.args.model})
    return 0
