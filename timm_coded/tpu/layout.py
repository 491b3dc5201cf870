"""How torch_xla lays out in a TPU's memory what a program takes and gives."""
from typing import Sequence

# A TPU's memory is in tiles of 8 rows of 128 numbers; from this much padding on torch_xla takes another order.
ROWS, LANES = 8, 128
TOO_MUCH_PADDING = 1.25


def minor_to_major(shape: Sequence[int]) -> list[int]:
    """The dimensions of an array, that whose neighbours lie side by side first.

    The order is C's, last dimension first, unless tiles would hold too much padding: then the largest dimension comes
    first, as in `MakeTpuShape` of torch_xla's layout_manager.cpp.
    """
    in_order = list(range(len(shape) - 1, -1, -1))
    if len(shape) < 2 or 0 in shape or padding(shape[-1], LANES) * padding(shape[-2], ROWS) < TOO_MUCH_PADDING:
        return in_order
    return sorted(in_order, key=lambda dimension: -shape[dimension])


def padding(size: int, tile: int) -> float:
    """How many times larger a dimension is with what fills its last tile."""
    return -(-size // tile) * tile / size
