"""`timm-coded input`: how many images a second the host loads."""
import argparse
import os
import tempfile
from pathlib import Path

from timm_coded.speed.input import Sizes
from timm_coded.speed.input_findings import measure_input
from timm_coded.speed.jpegs import make_jpegs
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT, INDEX, number

from .common import add_output_argument, make_folder, publish

DESCRIPTION = (
    'Measures how many images a second each core loads with the augmentation of the ImageNet recipe: the paper\'s way '
    '(create_loader of timm, erased on the host), ours, and ours with --fast-decode, in one run by turns. '
    'Tells where the time goes, and whether a device has to wait. Takes minutes; leave the machine alone meanwhile.'
)
EXAMPLE = 'timm-coded input --workers 0 2 --device-rate 2000'
IMAGES = 100  # that are made; of larger passes the rest are links to them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('data_dir', nargs='?', type=Path, metavar='DATA_DIR',
                        help='class folders of images; default: JPEG files of ImageNet-like sizes, made on the spot')
    parser.add_argument('-j', '--workers', type=INDEX, nargs='+', metavar='N',
                        help='numbers of loader processes; default: 0, 1, 2, 4, ... up to the cores there are')
    parser.add_argument('--repeats', type=COUNT, default=7, metavar='N', help='times of each; default: %(default)s')
    parser.add_argument('-b', '--batch-size', type=COUNT, default=32, metavar='B',
                        help='images at a time; default: %(default)s')
    parser.add_argument('--img-size', type=COUNT, default=160, metavar='PIXELS',
                        help='side of the images in training; default: %(default)s')
    parser.add_argument('--eval-img-size', type=COUNT, default=224, metavar='PIXELS',
                        help='the same in evaluation; default: %(default)s')
    parser.add_argument('--device-rate', type=number(float, 1), metavar='IMAGES/S',
                        help='what a device trains on: the table tells how many cores feed it')
    add_output_argument(parser, Path('output/input'))


def run(args: argparse.Namespace) -> int:
    workers = sorted(set(args.workers)) if args.workers else powers_up_to(cores())
    if max(workers) > cores():
        raise UserError(f'--workers {max(workers)}: there are {cores()} cores, and more loader processes would tell '
                        'nothing')
    folder = make_folder(args.output)
    sizes = Sizes(args.batch_size, args.img_size, args.eval_img_size)
    if args.data_dir:
        findings = measure_input(args.data_dir, workers, args.repeats, sizes, args.device_rate)
    else:
        with tempfile.TemporaryDirectory() as made:
            needed = sizes.images(max(workers))
            make_jpegs(Path(made), min(IMAGES, needed), -(-needed // IMAGES))
            findings = measure_input(Path(made), workers, args.repeats, sizes, args.device_rate, made=True)
    publish(findings, folder, args.json)
    return 0


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def powers_up_to(count: int) -> list[int]:
    """[0, 1, 2, 4, ..., count]"""
    return sorted({0, *(2 ** power for power in range(count.bit_length()) if 2 ** power <= count), count})
