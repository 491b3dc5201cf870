"""How images become the model's input: timm's transforms on the host, normalisation and erasing on the device."""
import argparse
from typing import Any, Callable

import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn
from torchvision.transforms import PILToTensor

from ..device_augment import BoxSampler, DeviceAugment
from ..errors import UserError
from ..replicas import Replica
from .fast_decode import decode_fast
from .image_set import ImageSet
from .loader import Batches, create_batches
from .mixing import create_mixing
from .pad_crop import pad_and_crop
from .sampler import EvaluationSampler, TrainingSampler
from .samples import Samples
from .synthetic import Synthetic
from .targets import check_targets
from .unreadable import Unreadable


def create_training_batches(
        args: argparse.Namespace,
        dataset: ImageSet,
        config: dict[str, Any],
        replica: Replica,
        accumulation: int = 1,
        unreadable: Unreadable | None = None,
) -> Batches:
    """A replica's shuffled, augmented micro-batches; `config` is `data_config`'s.

    Args:
        unreadable: the account of `--skip-corrupt`; default: one for this data set alone.

    Raises:
        UserError: there is not one whole step, a target is none of the classes, or timm refuses an option.
    """
    sampler = TrainingSampler(
        len(dataset), args.batch_size, accumulation, replica.rank, replica.world, args.seed)
    if not sampler.steps:
        step = replica.world * accumulation * args.batch_size
        flag = '--batch-size' if args.global_batch_size is None else '--global-batch-size'
        raise UserError(f'{len(dataset)} training images are not one batch of {step}: lower {flag}')
    check_targets(dataset, args.num_classes)
    size = config['input_size'][-1]
    mixing = create_mixing(args, size)
    if isinstance(dataset, Synthetic):
        dataset, transform = dataset.of_size(size), PILToTensor()
    else:
        transform = create_training_transform(args, config)
    if args.fast_decode:
        transform = decode_fast(args, transform, dataset)
    boxes = BoxSampler(args.reprob, args.recount) if args.reprob and not args.no_aug else None
    samples = Samples(dataset, transform, args.num_classes, args.seed, boxes, args.fast_decode)
    unreadable = unreadable or Unreadable(args.skip_corrupt)
    return create_batches(samples, sampler, args.batch_size, args.workers, mixing, unreadable)


def create_training_transform(
        args: argparse.Namespace,
        config: dict[str, Any],
) -> Callable[[Image.Image], torch.Tensor]:
    try:
        transform = create_transform(
            config['input_size'],
            is_training=True,
            no_aug=args.no_aug,
            train_crop_mode=args.train_crop_mode,
            scale=args.scale,
            ratio=args.ratio,
            hflip=args.hflip,
            vflip=args.vflip,
            color_jitter=args.color_jitter,
            auto_augment=args.aa,
            interpolation=args.train_interpolation,
            mean=config['mean'],
            use_prefetcher=True,  # uint8: the rest is done on the device
        )
    except (AssertionError, KeyError, ValueError) as error:
        raise UserError(f'--aa {args.aa}: timm does not know this policy ({error or type(error).__name__})') from error
    return pad_and_crop(args, transform, config['input_size'][-1])


def create_evaluation_batches(
        args: argparse.Namespace,
        dataset: ImageSet,
        config: dict[str, Any],
        replica: Replica,
        unreadable: Unreadable | None = None,
) -> Batches:
    """A replica's share of all images in order, the last batch padded; `config` is `data_config`'s.

    Args:
        unreadable: the account of `--skip-corrupt`; default: one for this data set alone.

    Raises:
        UserError: a target is none of the classes.
    """
    check_targets(dataset, args.num_classes)
    sampler = EvaluationSampler(len(dataset), replica.rank, replica.world)
    if isinstance(dataset, Synthetic):
        dataset, transform = dataset.of_size(evaluation_size(args, config)), PILToTensor()
    else:
        transform = create_evaluation_transform(args, config)
    if args.fast_decode:
        transform = decode_fast(args, transform, dataset)
    batch_size = args.validation_batch_size or args.batch_size
    samples = Samples(dataset, transform, args.num_classes, encoded=args.fast_decode)
    return create_batches(
        samples, sampler, batch_size, args.workers, unreadable=unreadable or Unreadable(args.skip_corrupt))


def create_evaluation_transform(
        args: argparse.Namespace,
        config: dict[str, Any],
) -> Callable[[Image.Image], torch.Tensor]:
    """RGB PIL image to a uint8 tensor [3, size, size]."""
    size = evaluation_size(args, config)
    return create_transform(
        (3, size, size),
        interpolation=config['interpolation'],
        mean=config['mean'],
        crop_pct=config['crop_pct'],
        crop_mode=config['crop_mode'],
        use_prefetcher=True,
    )


def evaluation_size(args: argparse.Namespace, config: dict[str, Any]) -> int:
    """Pixels of a side."""
    return args.eval_img_size or config['input_size'][-1]


def create_augment(args: argparse.Namespace, config: dict[str, Any], replica: Replica) -> DeviceAugment:
    return DeviceAugment(config['mean'], config['std'], args.remode, replica.device)


def data_config(args: argparse.Namespace, model: nn.Module) -> dict[str, Any]:
    """Input size, mean, std, interpolation and crop: what is given, or else what the model was made for."""
    for flag, values in (('--mean', args.mean), ('--std', args.std)):
        if values is not None and len(values) not in (1, 3):
            raise UserError(f'{flag} takes one number or three, got {len(values)}')
    for flag, values in (('--scale', args.scale), ('--ratio', args.ratio)):
        if values is not None and not 0 < values[0] <= values[1]:
            raise UserError(f'{flag} takes two numbers above 0, the lower one first, got {values[0]} {values[1]}')
    if args.std is not None and min(args.std) <= 0:
        raise UserError(f'--std must be above 0, got {min(args.std)}')
    return resolve_data_config(vars(args), model=model)
