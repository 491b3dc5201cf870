"""`timm-coded classify`: the binary classifiers of the classes."""
import argparse

from timm_coded.analysis.classifiers.classify import classify
from timm_coded.analysis.classifiers.stock_subnns import StockNetwork
from timm_coded.analysis.extraction.extract import check_classes
from timm_coded.analysis.outputs import check_coded
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT, INDEX
from timm_coded.train.trained import Images, Trained, load_trained

from .common import (
    add_checkpoint_arguments,
    add_data_arguments,
    add_output_argument,
    find_class,
    open_foreign,
    open_images,
    open_trained,
    output_folder,
    publish,
    tell,
)

DESCRIPTION = (
    'The binary classifier of a class is the coded network without the subNNs that are inactive for the class, in all '
    'blocks. Finds its threshold, of the highest F1 on the training images, and its precision, recall and F1 on '
    '--split (Section 4.3), and writes the thresholds to classifiers.json, for extract. The coded blocks run once for '
    'each class and image: where that is too much, --classes and --train-limit.'
)
EXAMPLE = 'timm-coded classify output/train/digits/model_best.pth.tar --foreign letters'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    add_data_arguments(parser)
    group = parser.add_argument_group('classifiers')
    group.add_argument('--classes', nargs='+', metavar='CLASS', help='of these, indices or names; default: of all')
    group.add_argument('--train-limit', type=COUNT, metavar='IMAGES',
                       help='find the thresholds on so many training images of each class, drawn at random; default: '
                            'on all')
    group.add_argument('--foreign', metavar='DATASET[:DATA_DIR]',
                       help='images of none of the classes, as negatives beside those of other classes')
    group.add_argument('--draws', type=COUNT, default=10, metavar='N',
                       help='how often to draw 9 negatives for each positive; default: 10')
    group.add_argument('--seed', type=INDEX, default=0, help='of the draws; default: 0')
    add_stock_arguments(parser)
    add_output_argument(parser)


def add_stock_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--stock', metavar='CHECKPOINT', help='a baseline: remove subNNs from this stock network too')
    parser.add_argument('--stock-model', metavar='MODEL', help='of which model --stock holds the weights, as --model')


def run(args: argparse.Namespace) -> int:
    trained = open_trained(args)
    check_coded(trained.model)
    stock = open_stock(args, trained)
    validation, train = open_images(args, trained), open_images(args, trained, 'train')
    classes = named_classes(args, trained, validation)
    foreign = open_foreign(args, trained)
    folder = output_folder(args)
    findings, thresholds = classify(
        trained.model, train, validation, classes, validation.class_names, foreign, stock.model if stock else None,
        args.train_limit, args.draws, args.seed)
    path = folder / 'classifiers.json'
    thresholds.save(path)
    publish(findings, folder, args.json)
    tell(f'thresholds of {len(classes)} classifiers: {path}')
    return 0


def named_classes(args: argparse.Namespace, trained: Trained, images: Images) -> list[int]:
    """The indices of --classes, by default of all."""
    if args.classes is None:
        return list(range(trained.model.num_classes))
    return check_classes(trained.model, [find_class(text, images.class_names) for text in args.classes])


def open_stock(args: argparse.Namespace, trained: Trained) -> Trained | None:
    """The network of --stock, of the twin's architecture and trained on images normalised in the same way.

    Raises:
        UserError: it is none.
    """
    if args.stock is None:
        if args.stock_model:
            raise UserError('--stock-model is of no use without --stock CHECKPOINT')
        return None
    told = {'mean': args.mean, 'std': args.std} if args.stock_model else {}  # of weights alone, both
    stock = load_trained(args.stock, args.device, args.stock_model, told, args.use_ema)
    StockNetwork(stock.model, trained.model)
    for name in ('mean', 'std'):
        if tuple(stock.config[name]) != tuple(trained.config[name]):
            raise UserError(f'--stock {args.stock} takes images of {name} {stock.config[name]}, the coded network of '
                            f'{trained.config[name]}: give its twin, trained with the same --{name}')
    return stock
