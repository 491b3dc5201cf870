"""Which images: opens the two splits of a data set by its name, and checks them before anything is compiled."""
import argparse
import os

from timm.data import create_dataset
from torch.utils.data import Dataset

from .digits import Digits
from .errors import UserError

STREAMED = ('hfids/', 'tfds/', 'wds/')  # timm's iterable readers


def open_datasets(args: argparse.Namespace) -> tuple[Dataset | None, Dataset]:
    """The training (but with `--eval-only`) and the validation split of `--dataset` in `DATA_DIR`, without transforms.

    Raises:
        UserError: the folder or split is missing or empty, the two splits name different classes, or the data set is of
            a kind that is not supported.
    """
    if args.dataset.lower().startswith(STREAMED):
        raise UserError(f'--dataset {args.dataset}: streamed data sets are not supported; '
                        'use class folders, torch/ or hfds/')
    if args.dataset not in ('', 'digits') and not args.dataset.startswith(('torch/', 'hfds/')):
        raise UserError(f"--dataset {args.dataset}: expected 'digits', torch/NAME, hfds/NAME, or none, for class "
                        'folders')
    if args.dataset == 'digits':
        if args.data_dir:
            raise UserError(f'--dataset digits comes with scikit-learn: leave out the data folder {args.data_dir}')
    elif not args.data_dir and not args.dataset.startswith('hfds/'):
        raise UserError('which images? Give DATA_DIR, the folder of the images, or --dataset digits')
    elif args.data_dir and not args.dataset_download and not os.path.exists(args.data_dir):
        raise UserError(f'the data folder {args.data_dir} does not exist')
    if args.eval_only:
        return None, open_split(args, args.val_split)
    train, validation = (open_split(args, split) for split in (args.train_split, args.val_split))
    folders = [folder_of(train), folder_of(validation)]
    if None not in folders and os.path.commonpath(folders) in folders:  # the same, or one inside the other
        raise UserError(f'{args.data_dir} has no folder for each split: expected {args.train_split}/ and '
                        f'{args.val_split}/ (or val/), each with one folder per class')
    if class_names(train) != class_names(validation):
        only = sorted(set(map(str, class_names(train))) ^ set(map(str, class_names(validation))))
        raise UserError(f'the splits {args.train_split} and {args.val_split} have different classes: only one of them '
                        f'has images of {", ".join(only[:5])}{", ..." if len(only) > 5 else ""}')
    return train, validation


def open_split(args: argparse.Namespace, split: str) -> Dataset:
    if args.dataset == 'digits':
        if split not in ('train', 'validation'):
            raise UserError(f"--dataset digits has the splits 'train' and 'validation', not {split!r}")
        return Digits(split)
    try:
        dataset = create_dataset(
            args.dataset,
            root=args.data_dir,
            split=split,
            class_map=args.class_map,
            download=args.dataset_download,
        )
    except (AssertionError, ImportError, KeyError, OSError, RuntimeError, ValueError) as error:
        what = f'--dataset {args.dataset}' if args.dataset else 'the class folders'
        reason = str(error) or type(error).__name__
        raise UserError(f'cannot open {what} in {args.data_dir}, split {split!r}: {reason}') from error
    if not len(dataset):
        raise UserError(f'--dataset {args.dataset} in {args.data_dir}: the split {split!r} has no images')
    return dataset


def class_names(dataset: Dataset) -> list:
    """A data set's classes in the order of their indices, or [] where it does not tell."""
    source = getattr(dataset, 'reader', dataset)
    if getattr(source, 'class_to_idx', None):
        return sorted(source.class_to_idx, key=source.class_to_idx.get)
    return list(getattr(source, 'classes', []))


def folder_of(dataset: Dataset) -> str | None:
    """The folder that was scanned for images, by timm's readers or torchvision's ImageFolder."""
    source = getattr(dataset, 'reader', dataset)
    return os.path.realpath(source.root) if hasattr(source, 'samples') else None
