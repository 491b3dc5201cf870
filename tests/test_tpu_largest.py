"""The largest batch that fits is found, whatever the compiler does to save memory."""
import pytest

from timm_coded.tpu.estimate import Estimate
from timm_coded.tpu.largest import largest_batch
from timm_coded.tpu.trace import Step

MEMORY = 16 * 2 ** 30


def search(limit, first, peak):
    """What was found, and in how many compiles, where batches to `limit` fit."""
    tried = []

    def compiled(batch_size):
        tried.append(batch_size)
        fits = batch_size <= limit
        return Estimate(Step('m', batch_size, 160), 'v5e', fits, peak=int(peak(batch_size)) if fits else 0)

    best, refused = largest_batch(compiled, first, MEMORY)
    assert len(set(tried)) == len(tried) <= 18
    assert all(batch % 8 == 0 and batch > 0 for batch in tried)
    return best.step.batch_size if best else None, refused, len(tried)


@pytest.mark.parametrize('first', [1, 64, 192, 8000, 10 ** 6])
@pytest.mark.parametrize('limit', [7, 8, 15, 63, 64, 100, 488, 1031, 8191])
@pytest.mark.parametrize('peak', [
    lambda batch: batch * MEMORY / 500,  # in proportion
    lambda batch: 2 ** 30 + batch * 2 ** 20,  # most of it does not depend on the batch
    lambda batch: min(batch * 2 ** 26, MEMORY - 1),  # the compiler recomputes to stay below
])
def test_the_largest_multiple_of_8_is_found(limit, first, peak):
    best, refused, _ = search(limit, first, peak)
    assert best == (limit // 8 * 8 or None)
    assert refused == (best or 0) + 8


@pytest.mark.parametrize('first', [64, 8192, 10 ** 6])
def test_the_search_ends_where_everything_fits(first):
    assert search(10 ** 9, first, lambda batch: batch)[:2] == (8192, None)


@pytest.mark.parametrize('first', [64, 192, 512])
def test_where_memory_grows_evenly_five_compiles_find_it(first):
    constant, image = 2 ** 28, 25 * 2 ** 20  # about what the ImageNet model takes on v5e
    limit = (MEMORY - constant) // image
    best, _, compiles = search(limit, first, lambda batch: constant + batch * image)
    assert best == limit // 8 * 8
    assert compiles <= 5


def test_where_the_compiler_saves_memory_the_batch_is_doubled():
    """As libtpu does for the ImageNet model on v5e: from 568 images on the peak stays at nine tenths of the memory."""
    tried = []

    def compiled(batch_size):
        tried.append(batch_size)
        peak = min(2 ** 28 + batch_size * 25 * 2 ** 20, 0.9 * MEMORY)
        return Estimate(Step('m', batch_size, 160), 'v5e', batch_size <= 1700, peak=int(peak))

    best, refused = largest_batch(compiled, 64, MEMORY)
    assert (best.step.batch_size, refused) == (1696, 1704)
    assert tried[:4] == [64, 560, 640, 1280] and tried[4] == 2560
    assert len(tried) <= 13
