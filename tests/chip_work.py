"""What the threads of torch_xla's launch do in the tests."""
import argparse
import os
from typing import Callable

from timm_coded.train.errors import UserError
from timm_coded.train.stop_or_save import Stopped


def end(args: argparse.Namespace, stop: Callable[[], str]) -> None:
    """Ends in the way that `args.end` names."""
    if args.end == 'UserError':
        raise UserError('give --better')
    if args.end == 'Stopped':
        raise Stopped('stopped after epoch 0')
    if args.end == 'crash':
        raise RuntimeError('a bug')
    if args.end == 'death':
        os._exit(9)
