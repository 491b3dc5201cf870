"""Peak memory of one model's steps: on a GPU by PyTorch's allocator, on the CPU by a process of its own."""
import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from ..train import replicas
from .contestant import Case, Setting, prepare_call

STATUS = Path('/proc/self/status')  # of Linux
MIB = 2 ** 20


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the host had not enough memory, in the words of PyTorch, XLA or the operating system."""
    words = 'RESOURCE_EXHAUSTED', "can't allocate memory", 'out of memory'
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in words)


def cpu_peak(name: str, case: Case, setting: Setting) -> float | None:
    """MiB that a new process's resident set grew by, at its highest, while it made the model and ran it twice.

    Weights, optimizer state, the batch, activations and what PyTorch's kernels keep are in it; the interpreter and its
    packages are not.

    Returns:
        None where the system does not tell.

    Raises:
        MemoryError: the process was ended by the system, as it does when memory runs out.
    """
    if not STATUS.exists():
        return None
    # a process that is not forked: a fork's resident set begins with the parent's
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        try:
            return pool.submit(run_alone, name, case, setting, torch.get_num_threads()).result()
        except BrokenProcessPool as error:
            raise MemoryError(f'the process that ran {name} was killed') from error


def run_alone(name: str, case: Case, setting: Setting, threads: int) -> float:
    torch.set_num_threads(threads)
    replica = replicas.create(setting.device)
    before = resident('VmRSS')
    call = prepare_call(name, case, setting, replica)
    call()
    call()
    return (resident('VmHWM') - before) / MIB


def resident(field: str) -> int:
    """Bytes of this process: 'VmRSS' now, 'VmHWM' the most it ever had.

    getrusage's maximum would not do: Linux hands it on from the parent to what that starts.
    """
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f'{field}:'))
    return 1024 * int(line.split()[1])


class CudaPeak:
    """Peak of a model on a GPU, without what other models hold there. To be made before the model is."""

    def __init__(self, device: torch.device):
        gc.collect()
        self.device = device
        self.before = torch.cuda.memory_allocated(device)

    def restart(self) -> None:
        """To be called before the step that counts: first steps try kernels out."""
        torch.cuda.reset_peak_memory_stats(self.device)

    def read(self) -> float:
        """MiB: weights, optimizer state, the batch and activations, as PyTorch's allocator has them."""
        return (torch.cuda.max_memory_allocated(self.device) - self.before) / MIB
