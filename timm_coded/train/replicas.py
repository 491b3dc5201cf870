"""The seam between the loop and what it runs on: the only module that imports torch_xla or torch.distributed.

`create` gives a replica: one device with what the loop needs of it, and its `peers`, the replicas it trains with. All
replicas have the same methods, and so have all peers; where a peer's method says "all replicas", each must call it.
"""
import contextlib
import importlib.util
import logging
import os
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, ContextManager, Iterator

import numpy as np
import torch
import torch.distributed as dist
from timm.utils import random_seed
from torch import Tensor, nn

from .data.loader import Batches
from .data.prefetch import prefetch
from .errors import UserError
from .graphs import GraphRecorder

# The two cores of a v2 or v3 chip are threads of one process: what they do to its state, random numbers too, one does
# after the other.
one_thread = threading.Lock()


def create(device: str = 'auto', xla_cache: str | None = None) -> 'XlaReplica | TorchReplica':
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


class Alone:
    """The peers of the only replica."""
    rank, world = 0, 1
    in_graph = True  # whether `average` is part of the device's graph

    def average(self, tensors: list[Tensor]) -> None:
        """Gives each of the device's tensors the mean over all replicas, in one reduction for all of them."""

    def gather(self, tensor: Tensor) -> Tensor:
        """All replicas' tensors of this shape, [world, ...] on the host; waits for the device."""
        return tensor.detach().cpu()[None]

    def vote(self, code: int) -> int | Tensor:
        """The highest code of all replicas. `int()` of it waits for it, the call does not wait for the device."""
        return code

    def share(self, model: nn.Module) -> None:
        """Gives the model of all replicas the weights of the first's."""


class Processes:
    """Other processes, by torch.distributed. Of XLA devices the tensors go through the host."""
    in_graph = False

    def __init__(self, backend: str):
        dist.init_process_group(backend)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def average(self, tensors: list[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        total = self.reachable(flat)
        dist.all_reduce(total)
        pieces = (total / self.world).to(flat.device).split([tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces):
            tensor.copy_(piece.view_as(tensor))

    def gather(self, tensor: Tensor) -> Tensor:
        own = tensor.detach().cpu()
        rows = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(rows, own)
        return torch.stack(rows)

    def vote(self, code: int) -> int | Tensor:
        highest = torch.tensor(code)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return int(highest)

    def share(self, model: nn.Module) -> None:
        for tensor in model.state_dict().values():
            value = self.reachable(tensor)
            dist.broadcast(value, 0)
            tensor.copy_(value)

    def reachable(self, tensor: Tensor) -> Tensor:
        return tensor.detach().cpu() if tensor.device.type == 'xla' else tensor.detach()


class XlaMesh:
    """The cores of a TPU or of a slice of a pod, by XLA's own collectives.

    Each replica's program must be the same, or some wait for ever for the others. What is not the gradients' is reduced
    in graphs of its own, as float32: a TPU's compiler finds no maximum of 64-bit integers.
    """
    in_graph = True

    def __init__(self, xla: ModuleType, xm: ModuleType, runtime: ModuleType, device: torch.device):
        self.xla, self.xm, self.device = xla, xm, device
        self.rank, self.world = runtime.global_ordinal(), runtime.world_size()

    def average(self, tensors: list[Tensor]) -> None:
        if tensors:
            self.xm.all_reduce(self.xm.REDUCE_SUM, tensors, scale=1 / self.world)

    def gather(self, tensor: Tensor) -> Tensor:
        rows = self.xm.all_gather(tensor.detach().float()[None].to(self.device))
        self.xla.sync()  # else the next reduction would hang on to this one, and the next step would be compiled anew
        return rows.cpu().to(tensor.dtype)

    def vote(self, code: int) -> int | Tensor:
        own = torch.tensor([float(code)]).to(self.device)  # without [] it would be a constant of the graph
        highest = self.xm.all_reduce(self.xm.REDUCE_MAX, own)
        self.xla.sync()  # a graph of its own: in the next step's it would make that a second one
        return highest

    def share(self, model: nn.Module) -> None:
        self.xm.broadcast_master_param(model)


def find_processes(backend: str) -> Alone | Processes:
    return Processes(backend) if int(os.environ.get('WORLD_SIZE', 1)) > 1 else Alone()


def leave() -> None:
    """Takes leave of the other processes, at the end of the work."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def ahead(batches: Batches, send: Callable[[Any], Any]) -> Iterator[list[Tensor]]:
    """Sends ahead what worker processes load; what this process loads itself, one by one.

    Without workers the images are augmented here, with the process's own random numbers, which no second thread may
    draw from.
    """
    return prefetch(batches, send) if batches.num_workers else map(send, batches)


def mix(*entropy: int) -> int:
    """One 32-bit seed of several numbers, the last of them not 0; other numbers give an unrelated one."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


Replica = XlaReplica | TorchReplica
