"""Mixup and CutMix of a batch on the host, by timm's own collate."""
import argparse
from typing import Sequence

import torch
from timm.data import FastCollateMixup

from ..errors import UserError
from .samples import Sample, seeded


class Mixing:
    """timm's mix of a batch, with random numbers that depend on (seed, epoch, index of its first image) alone.

    Args:
        mixup: timm's.
        seed: of the run.
        off_epoch: from this epoch on nothing is mixed; targets stay soft, so that shapes stay the same; 0 for never.
    """

    def __init__(self, mixup: FastCollateMixup, seed: int, off_epoch: int = 0):
        self.mixup = mixup
        self.seed = seed
        self.off_epoch = off_epoch

    def __call__(self, samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 images [B, C, H, W] and float32 targets [B, num_classes] that sum to 1."""
        epoch, index = samples[0].key
        self.mixup.mixup_enabled = not self.off_epoch or epoch < self.off_epoch
        with seeded(self.seed, epoch, index, 1):  # 1: apart from the numbers that augmented the first image
            return self.mixup([(sample.image, sample.target) for sample in samples])


def is_mixed(args: argparse.Namespace) -> bool:
    """Whether `--mixup` or `--cutmix` make the targets of training soft: float32 [B, num_classes]."""
    return args.mixup > 0 or args.cutmix > 0 or args.cutmix_minmax is not None


def create_mixing(args: argparse.Namespace, size: int) -> Mixing | None:
    """The mix that the arguments ask for, of images of `size` pixels, or None.

    Raises:
        UserError: an option that it cannot go together with.
    """
    if not is_mixed(args):
        return None
    if args.batch_size % 2:
        raise UserError(f'--mixup and --cutmix mix images in pairs: --batch-size {args.batch_size} must be even')
    if args.skip_corrupt:
        raise UserError('--skip-corrupt leaves images out of a batch, --mixup and --cutmix mix all of them: leave out '
                        'one of the two')
    if args.cutmix_minmax is not None and not int(size * args.cutmix_minmax[0]) < int(size * args.cutmix_minmax[1]):
        raise UserError(f'--cutmix-minmax takes two fractions of the side, the lower one first, got '
                        f'{args.cutmix_minmax[0]} {args.cutmix_minmax[1]}')
    mixup = FastCollateMixup(
        mixup_alpha=args.mixup,
        cutmix_alpha=args.cutmix,
        cutmix_minmax=args.cutmix_minmax,
        prob=args.mixup_prob,
        switch_prob=args.mixup_switch_prob,
        mode=args.mixup_mode,
        label_smoothing=args.smoothing,
        num_classes=args.num_classes,
    )
    return Mixing(mixup, args.seed, args.mixup_off_epoch)
