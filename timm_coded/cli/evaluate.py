"""`timm-coded evaluate`: one pass over a data set, whose outputs other commands read."""
import argparse

from timm_coded.analysis.accuracy import evaluate_accuracy
from timm_coded.analysis.outputs import check_coded

from .common import (
    add_checkpoint_arguments, add_data_arguments, add_output_argument, file_name, open_foreign, open_images,
    open_trained, output_folder, outputs_of, publish,
)

DESCRIPTION = (
    'Runs a checkpoint over a data set once. Stores logits, energies of each coded block and targets as '
    'outputs-SPLIT.npz, which decode, calibrate and detect read, and tells the accuracy of the network and of its '
    'early decoders (Fig. 4). Example: timm-coded evaluate output/train/digits/model_best.pth.tar'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument('--foreign', metavar='DATASET[:DATA_DIR]',
                        help='run it over these images, whose classes it does not know, instead: for detect')
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    trained = open_trained(args)
    check_coded(trained.model)
    folder = output_folder(args)
    images = open_foreign(args, trained, args.foreign) if args.foreign else open_images(args, trained)
    outputs = outputs_of(trained, images, foreign=bool(args.foreign))
    path = folder / f'outputs-{file_name(args.foreign or args.split)}.npz'
    outputs.save(path)
    if not args.foreign:
        publish(evaluate_accuracy(outputs), folder)
    print(f'outputs of {len(outputs.targets)} images: {path}')
    return 0
