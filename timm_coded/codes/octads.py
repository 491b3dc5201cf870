"""Coding schemes of 32 subNNs with 8 active ones, beyond the three-flats of flats.py.

All are sets of words closed under the translations x -> x + b of GF(2)^5, and so use every subNN equally often.
"""
import numpy as np

from .balance import balanced_order
from .flats import subspaces, translates
from .gf2m import binary_field
from .words import rows_from_masks, rows_from_supports

# Base blocks found by searches over the orbits of the maps below. Bit x is element x of GF(32).
# Images under x -> x^(2^i) + b: minimum distance 8; the first twelve blocks give 1000 words, all together 1080.
DISTANCE_8_BLOCKS = (
    0x10229a8, 0x1e522, 0x1512a4, 0x3c154, 0x33682, 0x1498092, 0xff0, 0x6996, 0x505a0a0, 0x669900, 0x5a00a5, 0x50a50a0,
    0x55505,
)
# Images under x -> a x^(2^i) + b, a != 0: minimum distance 6, 2480 + 4960 + 4960 = 12400 words.
DISTANCE_6_BLOCKS = (0x33f, 0x31067, 0x5821b)


def _orbit(block: int, multipliers: range) -> list[int]:
    """The images of a block under x -> a x^(2^i) + b for a in `multipliers`, any i and b; all are bit masks."""
    field, points = binary_field(5), np.arange(32)
    image, masks = points[block >> points & 1 == 1], []
    for _ in range(field.degree):
        scaled = field.multiply(np.array(multipliers)[:, None], image)
        masks.append((np.int64(1) << (scaled[:, None, :] ^ points[:, None])).sum(axis=-1).ravel())
        image = field.power(image, 2)
    return np.concatenate(masks).tolist()


def distance_8_words(count: int) -> np.ndarray:
    """The words of DISTANCE_8_BLOCKS, at most 1080; the first 1000, and all, use every subNN equally often.

    Returns:
        [count, 32] uint8, minimum distance 8.
    """
    first = dict.fromkeys(word for block in DISTANCE_8_BLOCKS[:12] for word in _orbit(block, range(1, 2)))
    last = dict.fromkeys(_orbit(DISTANCE_8_BLOCKS[12], range(1, 2)))
    parts = [rows_from_masks(list(words), 32) for words in (first, last)]
    return np.concatenate([part[balanced_order(part)] for part in parts])[:count]


def distance_6_words(count: int) -> np.ndarray:
    """The words of DISTANCE_6_BLOCKS, at most 12400.

    Returns:
        [count, 32] uint8, minimum distance 6.
    """
    masks = dict.fromkeys(word for block in DISTANCE_6_BLOCKS for word in _orbit(block, range(1, 32)))
    words = rows_from_masks(list(masks), 32)
    return words[balanced_order(words, count)]


def hamming_words(count: int) -> np.ndarray:
    """The words of weight 8 of the extended Hamming code [32, 26, 4], at most 330460.

    They are the sets of eight elements of GF(2)^5 whose sum is zero. Each has a plane T = {0, t, u, t + u} such that it
    has one element in every translate of T; with its own translates by T it shares out the 32 subNNs. So they are
    listed plane by plane, in fours, and the column sums of any prefix differ by at most one.

    Returns:
        [count, 32] uint8, minimum distance 4.
    """
    # Choice c: element 0 of the first translate of the plane, element c_i of the others. One in four words is such.
    choices = np.arange(4 ** 7)[:, None] >> 2 * np.arange(7) & 3
    fours, known = [], np.zeros(0, dtype=np.int64)
    for plane in subspaces(5, 2):
        flats = np.array(translates(plane, 5))
        first = np.concatenate([np.zeros((len(choices), 1), dtype=int), flats[np.arange(1, 8), choices]], axis=1)
        first = first[np.bitwise_xor.reduce(first, axis=1) == 0]
        first = first[~np.isin((np.int64(1) << first).sum(axis=1), known)]
        fours.append((first[:, None, :] ^ np.array(plane)[:, None]).reshape(-1, 8))
        known = np.concatenate([known, (np.int64(1) << fours[-1]).sum(axis=1)])
        if len(known) >= count:
            break
    return rows_from_supports(np.concatenate(fours)[:count], 32)
