"""`timm-coded report`: every analysis of one checkpoint, as one HTML page."""
import argparse
import time
from pathlib import Path
from typing import Callable, Iterator

import numpy as np

from timm_coded.analysis.accuracy import evaluate_accuracy
from timm_coded.analysis.activations.energy_map import energy_map
from timm_coded.analysis.activations.magnitudes import activations, choose_blocks
from timm_coded.analysis.calibration.calibrate import calibrate
from timm_coded.analysis.classifiers.classify import classify
from timm_coded.analysis.detection.attacks import Attack
from timm_coded.analysis.detection.detect import detect
from timm_coded.analysis.exits.early_decoding import decode_early
from timm_coded.analysis.exits.exit_cost import spread_images
from timm_coded.analysis.explanation import explain
from timm_coded.analysis.extraction.compare import evaluate_extraction
from timm_coded.analysis.extraction.extract import extract_classes
from timm_coded.analysis.findings import Findings, Row
from timm_coded.analysis.outputs import Outputs, check_coded
from timm_coded.analysis.page import render_page
from timm_coded.analysis.paper import TABLES
from timm_coded.analysis.removal.ablate import ablate
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT
from timm_coded.train.progress import duration
from timm_coded.train.trained import Images, Trained

from .classify import add_stock_arguments, named_classes, open_stock
from .common import (
    add_checkpoint_arguments,
    add_data_arguments,
    add_output_argument,
    open_foreign,
    open_images,
    open_trained,
    output_folder,
    outputs_of,
    print_json,
    tell,
)

DESCRIPTION = (
    'Runs every analysis on one checkpoint and puts all tables and figures on one page, report.html, which needs no '
    'other file; the numbers go to CSV and JSON files beside it. With many classes name a few by --classes, as the '
    'binary classifiers take a pass each.'
)
EXAMPLE = 'timm-coded report output/train/digits/model_best.pth.tar --foreign letters'
ANALYSES = ('decode', 'calibrate', 'ablate', 'activations', 'extract', 'classify', 'detect', 'explain')
EPSILON = 8 / 255
TIMED_IMAGES = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument('--foreign', metavar='DATASET[:DATA_DIR]', help='images of none of the classes')
    add_stock_arguments(parser)
    parser.add_argument('--classes', nargs='+', metavar='CLASS',
                        help='whose binary classifiers are tried; the first is extracted; default: all')
    parser.add_argument('--explained', type=COUNT, default=4, metavar='IMAGES',
                        help='how many images are explained, wrong predictions first; default: 4')
    parser.add_argument('--skip', nargs='+', default=[], choices=ANALYSES, metavar='ANALYSIS',
                        help=f'leave out some of {", ".join(ANALYSES)}')
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    trained = open_trained(args)
    check_coded(trained.model)
    if trained.device.type == 'xla':
        raise UserError('--device xla: some analyses need eager execution; take cpu or cuda')
    stock = open_stock(args, trained)
    images = open_images(args, trained)
    classes = named_classes(args, trained, images)
    train = images if 'classify' in args.skip else open_images(args, trained, 'train')
    foreign = open_foreign(args, trained)
    folder = output_folder(args)
    started = time.time()
    outputs = outputs_of(trained, images)
    found = [write(evaluate_accuracy(outputs), folder)]
    for name, analyse in (
            ('decode', lambda: decode_early(
                outputs, trained.model, spread_images(images, images.num_images, TIMED_IMAGES))),
            ('calibrate', lambda: calibrate(outputs)[0]),
            ('ablate', lambda: ablate(trained.model, images, trained.model.coded_blocks)),
            ('activations', lambda: activations(trained.model, images, choose_blocks(trained.model, []))),
            ('activations', lambda: energy_map(outputs)),
            ('extract', lambda: evaluate_extraction(
                trained.model, extract_classes(trained.model, classes[:1]), classes[:1], outputs.about['img_size'],
                [outputs.name_of(classes[0])], 10)),
            ('classify', lambda: classify(
                trained.model, train, images, classes, images.class_names, foreign, stock.model if stock else None)[0]),
            ('detect', lambda: detect(outputs, rejected(trained, images, foreign))),
    ):
        if name not in args.skip:
            found.append(write(timed(name, analyse), folder))
    if 'explain' not in args.skip:
        found += [write(findings, folder) for findings in explained(trained, images, outputs, args.explained)]
    path = folder / 'report.html'
    title = f'{trained.args.model}: {trained.path.parent.name or trained.path.name}'
    path.write_text(render_page(title, facts(trained, images, outputs, args, time.time() - started), found, TABLES))
    if args.json:
        print_json({findings.name: findings.content() for findings in found})
    tell(f'report: {path}')
    return 0


def write(findings: Findings, folder: Path) -> Findings:
    """Writes what was found as soon as it is: what follows may end in an error."""
    findings.write(folder)
    return findings


def timed(name: str, analyse: Callable[[], Findings]) -> Findings:
    """Says on stderr how long it took. What these images do not allow is told on the page, in the findings' place."""
    started = time.time()
    try:
        findings = analyse()
    except ValueError as error:
        findings = Findings(name, f'{name}: not possible here', notes=[str(error)])
        tell(f'{name}: {error}')
    tell(f'{name}: {time.time() - started:.0f} s')
    return findings


def rejected(trained: Trained, images: Images, foreign: Images | None) -> dict[str, Outputs]:
    """Outputs for what should not be trusted, by name."""
    found = {foreign.name: outputs_of(trained, foreign, foreign=True)} if foreign else {}
    for kind in ('fgsm', 'pgd'):
        found[kind] = outputs_of(trained, images, attack=Attack(kind, EPSILON))
    return found


def explained(trained: Trained, images: Images, outputs: Outputs, count: int) -> Iterator[Findings]:
    """A few images, those of wrong predictions first; none where outputs and images are not one to one."""
    if len(outputs.targets) != images.num_images:
        return
    order = np.argsort(outputs.predictions == outputs.targets, kind='stable')
    for index in sorted(order[:count].tolist()):
        image, target = images.image(index)
        pixels = trained.pixels(image)[0].permute(1, 2, 0).numpy()
        findings = explain(trained.model, image, pixels, f'{index}', images.class_names)
        findings.notes.append(f'image {index} of {images.name}, of class {outputs.name_of(target)}')
        yield findings


def facts(trained: Trained, images: Images, outputs: Outputs, args: argparse.Namespace, seconds: float) -> list[Row]:
    about = {
        'checkpoint': trained.path, 'weights': 'moving average' if args.use_ema else "the network's",
        'fingerprint': outputs.fingerprint, 'model': trained.args.model, 'images': images.name,
        'number of images': len(outputs.targets), 'pixels': outputs.about['img_size'], 'device': trained.replica.name,
        'time': duration(seconds),
    }
    return [{'what': name, 'value': str(value)} for name, value in about.items()]
