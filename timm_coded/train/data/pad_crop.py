"""Pad-and-crop, the usual augmentation of CIFAR, which timm's transforms do not have."""
import argparse

from torchvision.transforms import Compose, RandomCrop

from ..errors import UserError


def pad_and_crop(args: argparse.Namespace, transform: Compose, size: int) -> Compose:
    """timm's training transform with its first step, the resizing crop, replaced as `--train-pad` asks.

    The image gets `--train-pad` black pixels on each side, and a window of `size` pixels is cut out of it at random. It
    is not resized: flip, RandAugment and the rest follow as timm has them.

    Raises:
        UserError: a flag of the resizing crop is given as well.
    """
    if not args.train_pad or args.no_aug:
        return transform
    for flag in ('train_crop_mode', 'scale', 'ratio'):
        if getattr(args, flag) is not None:
            raise UserError(f'--{flag.replace("_", "-")} is of the resizing crop, which --train-pad {args.train_pad} '
                            'takes the place of: leave out one of the two')
    return Compose([RandomCrop(size, padding=args.train_pad), *transform.transforms[1:]])
