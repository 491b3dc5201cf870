"""A device of plain PyTorch."""
import contextlib
import os
from pathlib import Path
from typing import Any, ContextManager, Iterator

import torch
from timm.utils import random_seed
from torch import Tensor, nn

from ..data.loader import Batches
from ..errors import UserError
from .ahead import ahead
from .peers import find_processes
from .seeds import mix


class TorchReplica:
    """One device by plain PyTorch: 'cpu', or 'cuda', of which each process of a machine takes another."""

    def __init__(self, device: str):
        self.name = device
        self.device = torch.device(device)
        if device == 'cuda':
            number, count = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
            if number >= count:
                raise UserError(f'replica {number} of this machine has no GPU of its own: there are {count}')
            self.device = torch.device('cuda', number)
            torch.cuda.set_device(self.device)
        self.peers = find_processes('cpu:gloo,cuda:nccl' if device == 'cuda' else 'gloo')
        self.rank, self.world = self.peers.rank, self.peers.world

    def seed(self, *entropy: int) -> None:
        random_seed(mix(*entropy, 1 + self.rank))

    def place(self, model: nn.Module) -> None:
        model.to(self.device)

    def autocast(self, dtype: torch.dtype | None) -> ContextManager[Any]:
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def send(self, batches: Batches) -> Iterator[list[Tensor]]:
        return ahead(batches, lambda batch: [tensor.to(self.device, non_blocking=True) for tensor in batch])

    def end_step(self) -> None:
        """Operations were started as they were called."""

    def wait(self) -> None:
        """Returns when the device has done all that it was given."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)

    def recorder(self) -> None:
        """There are no graphs."""

    def compiles(self) -> tuple[int, float]:
        return 0, 0.0

    def fallbacks(self) -> list[str]:
        return []

    def device_count(self) -> int:
        return torch.cuda.device_count() if self.device.type == 'cuda' else 1

    @contextlib.contextmanager
    def profiler(self, folder: Path) -> Iterator[None]:
        with torch.profiler.profile() as profile:
            yield
            if self.device.type == 'cuda':
                torch.cuda.synchronize()
        folder.mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(folder / 'trace.json.gz'))
