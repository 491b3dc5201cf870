#!/usr/bin/env python3
"""Trains a coded model (or any other of timm's) on images, on a TPU by torch_xla, a CPU or a GPU.

    python train_xla.py --config configs/digits.yaml
    python train_xla.py DATA_DIR --model coded_resnext50_32x4d --batch-size 128

`python train_xla.py --help` lists the flags: timm's names, as far as they are honoured; any other is an error.
"""
import sys

from timm_coded.train.args import parse_args
from timm_coded.train.errors import UserError
from timm_coded.train.run import run


def main() -> int:
    """Exit status: 0, or 2 after an error of the user's, or 130 when interrupted."""
    args = parse_args()
    try:
        run(args)
    except UserError as error:
        print(f'train_xla.py: error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\ninterrupted; the checkpoints of whole epochs are kept, --resume goes on from one', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
