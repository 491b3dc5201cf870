"""The seam between the loop and what it runs on: the only module that imports torch_xla.

`create` gives a replica: one device, and what the loop needs of it. Both kinds have the same methods.
"""
import contextlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator

import numpy as np
import torch
from timm.utils import random_seed
from torch import nn

from .errors import UserError
from .loader import Batches
from .prefetch import prefetch


def create(device: str = 'auto') -> 'XlaReplica | TorchReplica':
    """The replica for a `--device`.

    Args:
        device: 'xla', 'cpu', 'cuda', or 'auto' for the first of xla, cuda, cpu that this machine has.

    Raises:
        UserError: the device is not there, or its package is not installed.
    """
    has_xla = importlib.util.find_spec('torch_xla') is not None
    if device == 'auto':
        device = 'xla' if has_xla else 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'xla' and not has_xla:
        raise UserError("--device xla needs torch_xla: pip install 'timm_coded[xla]' ('timm_coded[tpu]' on a TPU)")
    if device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: PyTorch finds no GPU here; use --device cpu, or a CUDA build of PyTorch')
    return XlaReplica() if device == 'xla' else TorchReplica(device)


class XlaReplica:
    """One XLA device by torch_xla: a TPU core, or the host's processor where there is none."""
    rank, world = 0, 1

    def __init__(self):
        chosen = 'PJRT_DEVICE' in os.environ
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # torch_xla warns of its choice of a device: `name` says it
        import torch_xla
        import torch_xla.core.xla_model as xm
        import torch_xla.debug.metrics as metrics
        import torch_xla.runtime as runtime
        logging.disable(disabled)
        self.xla, self.xm, self.metrics, self.runtime = torch_xla, xm, metrics, runtime
        self.device = torch_xla.device()
        self.name = f'XLA:{runtime.device_type()}' + ('' if chosen else " (torch_xla's choice: PJRT_DEVICE is not set)")

    def seed(self, *entropy: int) -> None:
        """Seeds the host's and the device's random numbers, apart on each replica."""
        seed = mix(*entropy, self.rank)
        random_seed(seed)
        self.xm.set_rng_state(seed, str(self.device))

    def place(self, model: nn.Module) -> None:
        """Moves a model to the device, and at once: zeros and ones left for the first step would be constants there."""
        model.to(self.device)
        self.xla.sync()

    def autocast(self, dtype: torch.dtype | None) -> ContextManager:
        return torch.autocast('xla', dtype=dtype, enabled=dtype is not None)

    def send(self, batches: Batches) -> Iterator[list[torch.Tensor]]:
        """The batches, on the device."""
        return ahead(batches, lambda batch: self.xm.send_cpu_data_to_device(list(batch), self.device))

    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        self.xm.reduce_gradients(optimizer)

    def end_step(self) -> None:
        """Hands the step's operations to the device, which works on while the host prepares the next."""
        self.xla.sync()

    def compiles(self) -> tuple[int, float]:
        """How many graphs were compiled so far, and in how many seconds."""
        count, nanoseconds, _ = self.metrics.metric_data('CompileTime') or (0, 0.0, [])
        return count, nanoseconds / 1e9

    def fallbacks(self) -> list[str]:
        """Operators that XLA does not have and that ran on the host."""
        return [name for name in self.metrics.counter_names() if name.startswith('aten::')]

    def device_count(self) -> int:
        """How many devices the runtime has, those of all replicas."""
        return self.runtime.global_runtime_device_count()

    @contextlib.contextmanager
    def profiler(self, folder: Path) -> Iterator[None]:
        """Traces what device and host do meanwhile, for TensorBoard's profile plugin and for Perfetto."""
        import torch_xla.debug.profiler as profiler
        self.xm.wait_device_ops()  # what was started before is none of its steps
        profiler.start_trace(folder)
        try:
            yield
            self.xm.wait_device_ops()
        finally:
            profiler.stop_trace()


class TorchReplica:
    """One device by plain PyTorch: 'cpu' or 'cuda'."""
    rank, world = 0, 1

    def __init__(self, device: str):
        self.device = torch.device(device)
        self.name = device

    def seed(self, *entropy: int) -> None:
        random_seed(mix(*entropy, self.rank))

    def place(self, model: nn.Module) -> None:
        model.to(self.device)

    def autocast(self, dtype: torch.dtype | None) -> ContextManager:
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def send(self, batches: Batches) -> Iterator[list[torch.Tensor]]:
        return ahead(batches, lambda batch: [tensor.to(self.device, non_blocking=True) for tensor in batch])

    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """One replica's gradients are their own mean."""

    def end_step(self) -> None:
        """Operations were started as they were called."""

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


def ahead(batches: Batches, send: Callable[[Any], Any]) -> Iterator[list[torch.Tensor]]:
    """Sends ahead what worker processes load; what this process loads itself, one by one.

    Without workers the images are augmented here, with the process's own random numbers, which no second thread may
    draw from.
    """
    return prefetch(batches, send) if batches.num_workers else map(send, batches)


def mix(*entropy: int) -> int:
    """One 32-bit seed of several numbers. Numbers that differ in more than zeros at the end give unrelated seeds."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


Replica = XlaReplica | TorchReplica


def to_cpu(tree: Any) -> Any:
    """The same nest of dicts, lists and tuples with all tensors on the CPU."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().cpu()
    if isinstance(tree, dict):
        return {key: to_cpu(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(to_cpu(value) for value in tree)
    return tree
