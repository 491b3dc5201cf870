#!/usr/bin/env python3
"""Trains a coded model (or any other of timm's) on images, on a TPU by torch_xla, a CPU or a GPU.

    python train_xla.py --config configs/digits.yaml
    python train_xla.py DATA_DIR --config configs/imagenet.yaml --experiment imagenet --resume auto

`python train_xla.py --help` lists the flags: timm's names, as far as they are honoured; any other is an error.

Exit status: 0 at the end of the run, 75 when it was stopped before (SIGTERM, SIGINT, --max-hours) and --resume goes on,
2 after an error of the user's, 1 after any other.
"""
import sys

from timm_coded.train.args import parse_args
from timm_coded.train.doctor import doctor
from timm_coded.train.launch import launch
from timm_coded.train.run import run

if __name__ == '__main__':
    args = parse_args()
    sys.exit(launch(args, doctor if args.doctor else run))
