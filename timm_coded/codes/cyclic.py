"""Coding schemes of 10 and 20 subNNs: base blocks and their images modulo N, small designs, and words kept as text."""
from importlib.resources import files

import numpy as np

from .balance import balanced_order
from .words import rows_from_supports

# By (N, N_act), the distance that all images of some base blocks under x -> a x + b keep, the values of a, the blocks.
BASE_BLOCKS: dict[tuple[int, int], list[tuple[int, tuple[int, ...], tuple[tuple[int, ...], ...]]]] = {
    (10, 5): [
        (4, (1,), ((0, 1, 2, 3, 6),)),
        (4, (1,), ((0, 2, 3, 4, 5), (0, 1, 2, 4, 6), (0, 1, 4, 5, 7))),
    ],
    (10, 3): [(4, (1,), ((0, 1, 3),))],
    (20, 4): [
        (6, (1,), ((0, 5, 10, 15), (0, 1, 3, 7))),
        (4, (1,), ((0, 1, 3, 6), (0, 5, 9, 12), (0, 7, 11, 12), (0, 4, 10, 11), (0, 2, 8, 10))),
        # A cyclic Steiner quadruple system: every three subNNs are in exactly one block.
        (4, (1,), (
            (0, 5, 10, 15), (0, 1, 4, 8), (0, 1, 2, 17), (0, 1, 5, 7), (0, 1, 10, 18), (0, 1, 12, 15), (0, 4, 10, 14),
            (0, 2, 5, 8), (0, 3, 10, 13), (0, 1, 3, 11), (0, 2, 6, 9), (0, 1, 6, 14), (0, 1, 9, 13), (0, 2, 4, 13),
            (0, 2, 7, 14), (0, 4, 9, 15))),
    ],
    (20, 8): [
        (6, (1, 3, 9, 7), (
            (0, 1, 2, 3, 4, 6, 9, 10), (0, 2, 3, 4, 7, 8, 9, 12), (0, 1, 3, 4, 6, 7, 8, 13), (0, 2, 4, 5, 6, 8, 9, 13),
            (0, 1, 3, 5, 7, 10, 12, 13), (0, 4, 5, 7, 9, 10, 12, 14), (0, 1, 3, 4, 10, 11, 13, 14),
            (0, 1, 5, 8, 9, 10, 12, 15))),
    ],
}


def images_of_blocks(
        blocks: tuple[tuple[int, ...], ...],
        num_subnns: int,
        multipliers: tuple[int, ...] = (1,),
) -> np.ndarray:
    """The images of base blocks under x -> a x + b modulo N, for a in `multipliers` and all b, each image once.

    The images of a block use every subNN equally often; they are ordered so that any prefix does about the same.

    Args:
        blocks: Lists of active subNNs.
        num_subnns: N.
        multipliers: Values of a, prime to N.

    Returns:
        [M, num_subnns] uint8.
    """
    images = dict.fromkeys(
        tuple(sorted((a * position + b) % num_subnns for position in block))
        for block in blocks for a in multipliers for b in range(num_subnns))
    words = rows_from_supports(list(images), num_subnns)
    return words[balanced_order(words)]


def packaged_words(name: str) -> np.ndarray:
    """The words of a text file in the package's data folder.

    Returns:
        [K, N] uint8.
    """
    text = (files(__package__) / 'data' / name).read_text(encoding='utf-8')
    return np.array([list(map(int, line)) for line in text.split('\n') if line and line[0] != '#'], dtype=np.uint8)


def steiner_words(count: int) -> np.ndarray:
    """At most 130 words of weight 8 and length 20, minimum distance 8: octads of S(5, 8, 24) that miss four points.

    Returns:
        [count, 20] uint8.
    """
    return packaged_words('steiner_20_8.txt')[:count]


def design_words(count: int) -> np.ndarray:
    """At most six words of weight 5 and length 10, minimum distance 6: the 2-(6, 3, 2) design, transposed.

    Ten triples of six points have every pair of points in two of them, so that any two words share two subNNs.

    Returns:
        [count, 10] uint8.
    """
    triples = ['012', '013', '024', '035', '045', '125', '134', '145', '234', '235']
    return np.array([[int(str(point) in triple) for triple in triples] for point in range(count)], dtype=np.uint8)
