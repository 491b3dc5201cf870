"""A device of torch_xla: a TPU core, or XLA on the host's processor."""
import contextlib
import logging
import os
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, ContextManager, Iterator

import torch
from timm.utils import random_seed
from torch import Tensor, nn

from ..data.loader import Batches
from ..errors import UserError
from ..graphs import GraphRecorder
from .ahead import ahead
from .mesh import XlaMesh
from .peers import find_processes
from .seeds import mix

# The two cores of a v2 or v3 chip are threads of one process: what they do to its state, random numbers too, one does
# after the other.
one_thread = threading.Lock()


def has_tpu() -> bool:
    """Whether XLA's device here is a TPU; the runtime is not started by the question."""
    return import_xla()[1].device_type() == 'TPU'


def launch_on_chips(work: Callable[..., Any], *args: Any) -> None:
    """Calls `work(ordinal, *args)` for every TPU core of this host: a process a chip, on v2 and v3 with two threads."""
    import_xla()[0].launch(work, args)


def import_xla() -> tuple[ModuleType, ModuleType]:
    """torch_xla and its runtime."""
    with one_thread:
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # torch_xla warns of its choice of a device: `XlaReplica.name` says it
        try:
            import torch_xla
            import torch_xla.runtime
            kind = torch_xla.runtime.device_type()  # the question is what makes it choose
        except ImportError as error:
            raise UserError(f'cannot import torch_xla: {error}; is it of the same release as torch {torch.__version__}'
                            "? pip install 'timm_coded[xla]' ('timm_coded[tpu]' on a TPU)") from error
        finally:
            logging.disable(disabled)
    if kind is None:
        raise UserError('torch_xla finds no device: set PJRT_DEVICE=CPU, or PJRT_DEVICE=TPU where there is one')
    return torch_xla, torch_xla.runtime


def open_cache(runtime: ModuleType, xla_cache: str) -> None:
    """Keeps compiled graphs in a folder of this process: processes write without a lock.

    To be called before the first computation, and where a process has two threads torch_xla takes only one call.
    """
    folder = os.path.join(xla_cache, os.environ.get('PJRT_LOCAL_PROCESS_RANK', '0'))
    with one_thread:
        if os.environ.get('XLA_PERSISTENT_CACHE_PATH') != folder:
            runtime.initialize_cache(folder)


class XlaReplica:
    """One XLA device by torch_xla: a TPU core, or the host's processor where there is none."""

    def __init__(self, xla_cache: str | None = None):
        self.xla, runtime = import_xla()
        import torch_xla.core.xla_model as xm
        import torch_xla.debug.metrics as metrics
        self.xm, self.metrics, self.runtime = xm, metrics, runtime
        kind = runtime.device_type()
        if xla_cache and kind != 'TPU':
            raise UserError(f'--xla-cache is for TPUs: XLA:{kind} cannot read its compiled graphs back')
        if xla_cache:
            open_cache(runtime, xla_cache)
        self.name = f'XLA:{kind}'
        self.device = self.xla.device()
        self.peers = XlaMesh(self.xla, xm, runtime, self.device) if runtime.world_size() > 1 else find_processes('gloo')
        self.rank, self.world = self.peers.rank, self.peers.world

    def seed(self, *entropy: int) -> None:
        """Seeds the host's and the device's random numbers, apart on each replica."""
        seed = mix(*entropy, 1 + self.rank)
        random_seed(seed)
        self.xm.set_rng_state(seed, str(self.device))

    def place(self, model: nn.Module) -> None:
        """Moves a model to the device.

        Single numbers, as BatchNorm's counts of batches, are sent as data: torch_xla makes constants of 0 and 1 and one
        input of equal numbers, so that the first step, after which they differ, would have a graph of its own.
        """
        numbers = [buffer for buffer in model.buffers() if buffer.ndim == 0]
        sent: Any = []
        if numbers:
            sent = self.xm.send_cpu_data_to_device([buffer.clone() for buffer in numbers], self.device)
        model.to(self.device)
        for buffer, value in zip((buffer for buffer in model.buffers() if buffer.ndim == 0), sent):
            buffer.data = value
        self.xla.sync()

    def autocast(self, dtype: torch.dtype | None) -> ContextManager[Any]:
        return torch.autocast('xla', dtype=dtype, enabled=dtype is not None)

    def send(self, batches: Batches) -> Iterator[list[Tensor]]:
        """The batches, on the device."""
        return ahead(batches, lambda batch: self.xm.send_cpu_data_to_device(list(batch), self.device))

    def end_step(self) -> None:
        """Hands the step's operations to the device, which works on while the host prepares the next."""
        self.xla.sync()

    def wait(self) -> None:
        """Ends the step, and returns when the device has done it."""
        self.xla.sync()
        self.xm.wait_device_ops()

    def recorder(self) -> GraphRecorder | None:
        """Records steps, to run them again; None if it takes more than a graph to do one, or torch_xla cannot."""
        recorder = GraphRecorder(self.xla._XLAC, self.device, one_thread)
        return recorder if self.peers.in_graph and recorder.is_able() else None

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

    def pending_graph(self, tensors: list[Tensor]) -> tuple[str, list[int]]:
        """The graph that `end_step` would compile were these the live tensors; it stays pending.

        Returns:
            Its HLO as text, and which of its parameters the results may overwrite: those whose tensor is one of
            `tensors` with something pending, as torch_xla's own `sync` donates them.
        """
        xlac = self.xla._XLAC
        described = [(tensor, xlac._get_xla_tensor_debug_info(tensor)) for tensor in tensors]
        pending = {tensor: text for tensor, text in described
                   if not any(known in text for known in ('IR: None', 'xla::device_data'))}
        hlo = xlac._get_xla_tensors_hlo(list(pending))
        of_parameters, _ = xlac._get_tensors_xla_device_data_node(list(pending))
        own = {int(text.split('AliasID: ')[1].split()[0]) for text in pending.values()}
        return hlo, [index for index, tensor in enumerate(of_parameters) if tensor in own]

    @contextlib.contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Operations traced meanwhile carry the name in the graph's metadata, where XLA_HLO_DEBUG is set."""
        scope = self.xla._XLAC.profiler.scope_pusher(name)
        try:
            yield
        finally:
            del scope

    def join(self, world: int) -> None:
        """Makes graphs as the first of `world` replicas makes them; they are not there, so the graphs cannot run."""
        os.environ['XLA_ALWAYS_ALLREDUCE'] = '1'  # else torch_xla leaves out the reductions of a single device
        self.peers = XlaMesh(self.xla, self.xm, self.runtime, self.device)
        self.rank, self.world = self.peers.rank, self.peers.world = 0, world

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
