"""`timm-coded paths`: a picture of the paths of a few classes."""
import argparse
from pathlib import Path
from typing import cast

import timm
from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import nn

from timm_coded.analysis.class_paths import check_shown, class_paths
from timm_coded.analysis.outputs import check_coded
from timm_coded.analysis.paths_picture import save_picture
from timm_coded.models import CodedResNet
from timm_coded.speed.forms import create_form, split_name
from timm_coded.train.build import check_model_name
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT
from timm_coded.train.trained import load_trained

from .coded_arguments import add_coded_arguments, name_coded
from .common import (
    add_class_names_argument,
    add_json_argument,
    class_names_of,
    find_class,
    make_folder,
    print_json,
    read_names,
    tell,
)

DESCRIPTION = (
    'Draws which subNNs of which block work for a class, for one to three classes in a colour each: of a checkpoint of '
    "train_xla.py, or of a model by its name, which needs no training, as the paths are designed before it. Prints the "
    "picture's description for those who cannot see it, and the codewords as a table."
)
EXAMPLE = '''\
timm-coded paths coded_resnext50_32x4d --classes goldfish hen --output paths.png
timm-coded paths output/train/digits/model_best.pth.tar --classes 3 8 --output paths.svg'''
SUFFIXES = '.png', '.svg'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', metavar='MODEL_OR_CHECKPOINT',
                        help='a name of the registry, or a file of train_xla.py')
    parser.add_argument('--classes', nargs='+', required=True, metavar='CLASS', help='one to three, indices or names')
    parser.add_argument('--num-classes', type=COUNT, metavar='K',
                        help="how many, of a model by its name; default: the model's own")
    add_class_names_argument(parser, "ImageNet's for a model of its number of classes, or their indices")
    parser.add_argument('--output', type=Path, metavar='FILE', default=Path('output/paths.png'),
                        help='the picture, .png or .svg; default: %(default)s')
    add_json_argument(parser)
    add_coded_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.output.suffix not in SUFFIXES:
        raise UserError(f'--output {args.output}: give it the ending {" or ".join(SUFFIXES)}')
    model, names, name = open_model(args)
    classes = [find_class(text, names) for text in args.classes]
    check_shown(classes, model.num_classes)
    make_folder(args.output.parent)
    findings = class_paths(model, classes, names, name)
    picture, = findings.pictures
    save_picture(picture.figure, args.output, picture.title)
    if args.json:
        print_json({findings.name: findings.content()})
    else:
        print(findings.text())
    tell(f'written: {args.output}\nalt text: {picture.title}')
    return 0


def open_model(args: argparse.Namespace) -> tuple[CodedResNet, list[str], str]:
    """The model, the names of its classes where they are known, and its own name."""
    if Path(args.model).is_file():
        for flag in ('num_classes', 'num_active', 'model_kwargs'):
            if getattr(args, flag):
                raise UserError(f'--{flag.replace("_", "-")}: {args.model} has its own, leave it out')
        trained = load_trained(args.model)
        check_coded(trained.model)
        return cast(CodedResNet, trained.model), class_names_of(args, trained), trained.args.model
    if Path(args.model).suffix in ('.tar', '.pth', '.pt', '.safetensors'):
        raise UserError(f'there is no checkpoint {args.model}')
    base = split_name(args.model)[0]
    check_model_name(base)
    own = cast(int, timm.get_pretrained_cfg_value(base, 'num_classes'))
    name, = name_coded([args.model], args)
    model = create_form(name, args.num_classes or own)
    check_coded(model)
    coded = cast(CodedResNet, model)
    names = read_names(args.class_names, coded.num_classes) if args.class_names else imagenet_names(coded)
    return coded, names, name


def imagenet_names(model: nn.Module) -> list[str]:
    """Those of ImageNet, in a word or two, if the model has its number of classes; none for another model."""
    subset = infer_imagenet_subset(model)
    if subset is None:
        return []
    info = ImageNetInfo(subset)
    return [info.index_to_description(index).partition(',')[0] for index in range(info.num_classes())]
