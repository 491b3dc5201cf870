"""Time that calls take, with all that they leave to a GPU, and times of several that are to be compared."""
import time
from typing import Callable, Sequence

import numpy as np
import torch

WARM_UP = 2


def time_call(call: Callable[[], object], device: torch.device) -> float:
    """Milliseconds, until the device has done it. On XLA the call itself has to wait for the device."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return 1000 * (time.perf_counter() - start)


def wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def interleaved_times(calls: Sequence[Callable[[], object]], device: torch.device, repeats: int) -> np.ndarray:
    """Times in ms, one row for each call, [calls, repeats].

    The calls take turns, and the order is the other way round in every second repeat, so that what else the machine
    does and how warm it is hits all alike: calls are to be compared by the two times of a repeat.
    """
    times = np.empty((len(calls), repeats))
    for _ in range(WARM_UP):
        for call in calls:
            time_call(call, device)
    for repeat in range(repeats):
        for index in range(len(calls))[::1 if repeat % 2 == 0 else -1]:
            times[index, repeat] = time_call(calls[index], device)
    return times


def iqr(values: np.ndarray) -> float:
    """The distance of the quartiles."""
    low, high = np.percentile(values, (25, 75))
    return high - low
