"""Time that a call takes, with all that it leaves to a GPU."""
import time
from typing import Callable

import torch


def time_call(call: Callable[[], object], device: torch.device) -> float:
    """Milliseconds, until the device has done it."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return 1000 * (time.perf_counter() - start)


def wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
