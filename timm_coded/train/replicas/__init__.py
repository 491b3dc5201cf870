"""The seam between the loop and what it runs on: the only part that knows torch_xla or torch.distributed.

`create` gives a replica: one device with what the loop needs of it, and its `peers`, the replicas it trains with. All
replicas have the same methods, and so have all peers; where a peer's method says "all replicas", each must call it.
"""
import importlib.util

import torch

from ..errors import UserError
from .mesh import XlaMesh
from .peers import Alone, Processes, leave
from .plain import TorchReplica
from .xla import XlaReplica, has_tpu, launch_on_chips, one_thread

__all__ = [
    'Alone', 'Processes', 'Replica', 'TorchReplica', 'XlaMesh', 'XlaReplica', 'check_device', 'create', 'has_tpu',
    'launch_on_chips', 'leave', 'one_thread',
]

Replica = XlaReplica | TorchReplica


def create(device: str = 'auto', xla_cache: str | None = None) -> Replica:
    """The replica that this process, or on XLA this thread, is.

    Its peers are those of torch_xla's launch, or those that the environment names as torchrun sets it (RANK,
    WORLD_SIZE, ...); without either it is alone.

    Args:
        device: 'xla', 'cpu', 'cuda', or 'auto' for the first of xla, cuda, cpu that this machine has.
        xla_cache: folder for compiled graphs, on a TPU.

    Raises:
        UserError: the device is not there, its package is not installed, or it has no such cache.
    """
    device = check_device(device)
    if device == 'xla':
        return XlaReplica(xla_cache)
    if xla_cache:
        raise UserError(f'--xla-cache is for TPUs, not for --device {device}')
    return TorchReplica(device)


def check_device(device: str) -> str:
    """The device that 'auto' stands for, or the one given if this machine has it.

    Raises:
        UserError: it has not.
    """
    has_xla = importlib.util.find_spec('torch_xla') is not None
    if device == 'auto':
        device = 'xla' if has_xla else 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'xla' and not has_xla:
        raise UserError("--device xla needs torch_xla: pip install 'timm_coded[xla]' ('timm_coded[tpu]' on a TPU)")
    if device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: PyTorch finds no GPU here; use --device cpu, or a CUDA build of PyTorch')
    return device
