"""Batches on their way to the device."""
from typing import Any, Callable, Iterator

from torch import Tensor

from ..data.loader import Batches
from ..data.prefetch import prefetch


def ahead(batches: Batches, send: Callable[[Any], Any]) -> Iterator[list[Tensor]]:
    """Sends ahead what worker processes load; what this process loads itself, one by one.

    Without workers the images are augmented here, with the process's own random numbers, which no second thread may
    draw from.
    """
    return prefetch(batches, send) if batches.num_workers else map(send, batches)
