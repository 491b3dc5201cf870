"""Which images: opens the two splits of a data set by its name, and checks them before anything is compiled."""
import argparse
import os
from typing import Any, Callable

from timm.data import ImageDataset, create_dataset

from ..errors import UserError
from .class_folders import read_class_folders
from .digits import Digits
from .image_set import ImageSet
from .letters import Letters
from .records import RecordReader
from .shards import read_shards
from .slices import SliceReader
from .synthetic import Synthetic
from .tars import read_class_tars, tars_in

BUILT_IN: dict[str, Callable[[str], ImageSet]] = {'digits': Digits, 'letters': Letters}  # that come inside a package
KINDS = ('torch/', 'hfds/', 'wds/', 'tfds/')
SYNONYMS = (('train', 'training'), ('val', 'valid', 'validation', 'eval', 'evaluation'))  # as timm has them


def open_datasets(args: argparse.Namespace, world: int = 1) -> tuple[ImageSet | None, ImageSet]:
    """The training (but with `--eval-only`) and the validation split of `--dataset` in `DATA_DIR`, without transforms.

    All of them give an image by its index, streams are indexed: which is what makes shuffling, sharing among `world`
    replicas, evaluation and resuming exact for all.

    Raises:
        UserError: the folder or split is missing or empty, the two splits name different classes, or the data set is of
            a kind that is not supported.
    """
    check_flags(args)
    if args.synthetic:
        step = args.global_batch_size or world * args.batch_size
        noise = Synthetic(10 * world * (args.validation_batch_size or args.batch_size), args.num_classes or 1000)
        return None if args.eval_only else Synthetic(100 * step, args.num_classes or 1000), noise
    if args.eval_only:
        return None, open_split(args, args.val_split)
    train, validation = (open_split(args, split) for split in (args.train_split, args.val_split))
    folders = [folder for folder in map(folder_of, (train, validation)) if folder is not None]
    if len(folders) == 2 and os.path.commonpath(folders) in folders:  # the same, or one inside the other
        raise UserError(f'{args.data_dir} has no folder for each split: expected {args.train_split}/ and '
                        f'{args.val_split}/ (or val/) with a folder or tar for each class, or {args.train_split}.tar '
                        f'and {args.val_split}.tar')
    if class_names(train) != class_names(validation):
        only = sorted(set(map(str, class_names(train))) ^ set(map(str, class_names(validation))))
        raise UserError(f'the splits {args.train_split} and {args.val_split} have different classes: only one of them '
                        f'has images of {", ".join(only[:5])}{", ..." if len(only) > 5 else ""}')
    return train, validation


def check_flags(args: argparse.Namespace) -> None:
    name = args.dataset
    if args.synthetic:
        if args.data_dir or name:
            raise UserError(f'--synthetic takes no images: leave out {args.data_dir or f"--dataset {name}"}')
        return
    if name.lower().startswith('hfids/'):
        raise UserError(f'--dataset {name}: a stream can be neither resumed nor evaluated exactly; use hfds/')
    if name and name not in BUILT_IN and not name.startswith(KINDS):
        raise UserError(f"--dataset {name}: expected 'digits', 'letters', torch/NAME, hfds/NAME, wds/, tfds/NAME, or "
                        'none, for class folders or tars')
    if name.startswith(('wds/', 'tfds/')) and (args.class_map or args.dataset_download):
        flag = '--class-map' if args.class_map else '--dataset-download'
        raise UserError(f'--dataset {name} is read as it lies there: leave out {flag}')
    if name in BUILT_IN:
        if args.data_dir:
            raise UserError(f'--dataset {name} comes inside a package: leave out the data folder {args.data_dir}')
    elif not args.data_dir and not name.startswith(('hfds/', 'tfds/')):
        raise UserError('which images? Give DATA_DIR, the folder of the images, --dataset digits, or --synthetic')
    elif args.data_dir and not args.dataset_download and not os.path.exists(args.data_dir):
        raise UserError(f'the data folder {args.data_dir} does not exist')


def open_split(args: argparse.Namespace, split: str) -> ImageSet:
    if args.dataset in BUILT_IN:
        if split not in ('train', 'validation'):
            raise UserError(f"--dataset {args.dataset} has the splits 'train' and 'validation', not {split!r}")
        return BUILT_IN[args.dataset](split)
    try:
        dataset = read_split(args, split)
    except UserError:
        raise
    except Exception as error:  # each library has errors of its own
        what = f'--dataset {args.dataset}' if args.dataset else 'the class folders'
        where = f' in {args.data_dir}' if args.data_dir else ''
        reason = str(error) or type(error).__name__
        if (args.dataset or '').startswith(('torch/', 'hfds/')) and not args.dataset_download:
            reason += ' (--dataset-download fetches what is not there; --dataset "" reads class folders of your own)'
        raise UserError(f'cannot open {what}{where}, split {split!r}: {reason}') from error
    if not len(dataset):
        raise UserError(f'--dataset {args.dataset}: the split {split!r} has no images')
    return dataset


def read_split(args: argparse.Namespace, split: str) -> ImageSet:
    kind, _, name = args.dataset.partition('/')
    if kind == 'wds':
        return ImageDataset(args.data_dir, reader=read_shards(args.data_dir, split))
    if kind == 'tfds':
        return ImageDataset(args.data_dir, reader=RecordReader(name, args.data_dir, split))
    if kind:
        images: ImageSet = create_dataset(
            args.dataset,
            root=args.data_dir,
            split=split,
            class_map=args.class_map,
            download=args.dataset_download,
        )
        return images
    root = find_split(args.data_dir, split)
    if os.path.isdir(root):
        tars = tars_in(root)
        if not tars:
            return read_class_folders(root, args.class_map)
        if [entry for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != '.']:
            raise UserError(f'{root} has both folders and tar files, such as {tars[0]}: leave one kind of them, and '
                            'move the other away')
    return ImageDataset(root, reader=read_class_tars(root, args.class_map))


def find_split(root: str, split: str) -> str:
    """The folder or tar file of a split in `root`; `root` itself where there is none."""
    names = [split, *(name for names in SYNONYMS if split in names for name in names)]
    paths = [os.path.join(root, name + ending) for name in names for ending in ('', '.tar')]
    return next(filter(os.path.exists, paths), root)


def class_names(dataset: ImageSet) -> list[Any]:
    """A data set's classes in the order of their indices, or [] where it does not tell."""
    source: Any = getattr(dataset, 'reader', dataset)
    if getattr(source, 'class_to_idx', None):
        return sorted(source.class_to_idx, key=source.class_to_idx.get)
    return list(getattr(source, 'classes', []))


def folder_of(dataset: ImageSet) -> str | None:
    """The folder or tar that was searched for class folders, by timm's readers, ours or torchvision's ImageFolder."""
    source: Any = getattr(dataset, 'reader', dataset)
    is_tree = hasattr(source, 'samples') or isinstance(source, SliceReader) and source.class_to_idx
    return os.path.realpath(source.root) if is_tree else None
