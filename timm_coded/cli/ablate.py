"""`timm-coded ablate`: what removing subNNs does to the accuracy."""
import argparse

from timm_coded.analysis.outputs import check_coded
from timm_coded.analysis.removal.ablate import ablate, check_blocks
from timm_coded.train.flags import COUNT, INDEX

from .common import (
    add_checkpoint_arguments,
    add_data_arguments,
    add_output_argument,
    open_images,
    open_trained,
    output_folder,
    publish,
)

DESCRIPTION = (
    'Accuracy of a coded network with 0, 1, ... or all active subNNs, and with 0, 1, ... or all inactive ones, removed '
    'from a block, for one block after the other (Section 4.2, Fig. 2a and 9).'
)
EXAMPLE = 'timm-coded ablate output/train/digits/model_best.pth.tar --blocks layer2.2 layer3.1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    add_data_arguments(parser)
    group = parser.add_argument_group('removal')
    group.add_argument('--blocks', nargs='+', metavar='BLOCK', help='coded blocks; default: all')
    group.add_argument('--draws', type=COUNT, default=5, metavar='N',
                       help='how often to draw which subNNs a sample loses; default: 5')
    group.add_argument('--seed', type=INDEX, default=0, help='of the draws; default: 0')
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    trained = open_trained(args)
    check_coded(trained.model)
    blocks = check_blocks(args.blocks, trained.model.coded_blocks)
    folder = output_folder(args)
    publish(ablate(trained.model, open_images(args, trained), blocks, args.draws, args.seed), folder, args.json)
    return 0
