"""`timm-coded activations`: what the subNNs put out for the classes they work for and for the others."""
import argparse

from timm_coded.analysis.activations.energy_map import energy_map
from timm_coded.analysis.activations.magnitudes import activations, choose_blocks

from .common import (
    add_checkpoint_arguments,
    add_data_arguments,
    add_output_argument,
    open_images,
    open_trained,
    output_folder,
    outputs_of,
    publish_all,
)

DESCRIPTION = (
    'Distributions of |t_n|, the output of subNN n, for classes that it works for and for the others (Fig. 6), and the '
    'mean energy of each subNN for each class beside the coding scheme. All t_n of a block are N times its output: '
    'each is computed alone, and only counted.'
)
EXAMPLE = 'timm-coded activations output/train/digits/model_best.pth.tar'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument('--blocks', nargs='+', metavar='BLOCK',
                        help="coded blocks; default: layer3.1, the paper's, or where that is not coded the last")
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    trained = open_trained(args)
    blocks = choose_blocks(trained.model, args.blocks or [])
    folder = output_folder(args)
    images = open_images(args, trained)
    analyses = (lambda: activations(trained.model, images, blocks), lambda: energy_map(outputs_of(trained, images)))
    publish_all((analyse() for analyse in analyses), folder, args.json)
    return 0
