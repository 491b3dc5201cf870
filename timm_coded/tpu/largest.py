"""The largest micro-batch that fits into a chip's memory, by the compiler's own word."""
from typing import Callable

from .estimate import Estimate

STEP = 8  # images: the rows of a TPU's tiles
LIMIT = 8192  # no larger batch is asked for


def largest_batch(compiled: Callable[[int], Estimate], first: int, memory: int) -> tuple[Estimate | None, int | None]:
    """Looks for the largest multiple of 8 images that fits, by compiling for some.

    It takes for granted that what is smaller than what fits does fit. The first two guesses follow the peak memory,
    which grows about evenly with the batch as long as there is enough. From then on the compiler saves memory: if the
    second guess does not fill it either, the batch is doubled, and the end is found by halving.

    Args:
        compiled: the estimate for a batch size.
        first: where to begin.
        memory: of the device, bytes.

    Returns:
        The estimate of the largest batch that fits, None if not even 8 images do, and the next batch size, which does
        not fit; None if that is beyond 8192.
    """
    best, refused, stride, guesses = None, None, STEP, 0
    batch = multiple(min(first, LIMIT))
    while True:
        result = compiled(batch)
        if result.fits:
            best = result
        else:
            refused = batch
        low = best.step.batch_size if best else 0
        if refused is not None and refused - low <= STEP or low == LIMIT:
            return best, refused
        guess = multiple(int(low * memory / best.peak)) if best else 0
        if refused is None:
            if guess <= low:
                guess, stride = low + stride, 4 * stride
            elif guesses == 2:
                guess = 2 * low
            else:
                guesses += 1
            batch = min(guess, LIMIT)
        else:
            middle = multiple((low + refused) // 2)
            batch = guess if middle < guess < refused else middle


def multiple(images: int) -> int:
    return max(STEP, images // STEP * STEP)
