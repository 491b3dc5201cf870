"""source='search': the paper's Algorithm 1 (Appendix A) for any K, N, N_act."""
from math import comb
from typing import Callable

import numpy as np

from .balance import even_subset, is_even
from .bounds import distance_bound
from .exchange import exchange
from .graham_sloane import all_supports, can_list
from .lexicode import can_tabulate, lexicode
from .progress import ProgressBar
from .words import rows_from_supports

# Where there are too many words to go through all of them, this many are drawn at random.
SAMPLE_SIZE = 2 ** 17
# Orders of the list L are tried as long as this many words have not been gone through.
MAX_WORDS_TRIED = 20_000_000


def search_words(
        num_classes: int,
        num_subnns: int,
        num_active: int,
        min_distance: int | None = None,
        seed: int = 0,
        progress: bool | None = None,
) -> tuple[np.ndarray, str]:
    """Algorithm 1: the greedy set G of words H_min apart, then K of them with column sums as even as possible.

    Without a given H_min, it starts from the largest one that the bounds allow and goes down until G has K words and
    their column sums are even to within a tenth (or to within 2, as the paper's are).

    Args:
        num_classes: K.
        num_subnns: N.
        num_active: N_act.
        min_distance: H_min, or None.
        seed: Of all that is left to chance: the same seed gives the same words.
        progress: Whether to show a progress bar on stderr; None when that is a terminal.

    Returns:
        [num_classes, num_subnns] uint8, and a line of text.

    Raises:
        ValueError: `min_distance` is odd or below 2, or no K words at this distance are found; or the seed is negative.
    """
    bound = distance_bound(num_classes, num_subnns, num_active)
    if min_distance is not None and (min_distance < 2 or min_distance % 2):
        raise ValueError(
            f'min_distance must be even and at least 2, as distances of words of equal weight are, got'
            f' {min_distance}')
    if min_distance is not None and num_classes > 1 and min_distance > bound.distance:
        raise ValueError(
            f'no {num_classes} words of length {num_subnns} and weight {num_active} are at distance {min_distance}:'
            f' {bound.proof}')
    if not 0 <= seed < 2 ** 32:
        raise ValueError(f'seed must be from 0 to 2^32 - 1, got {seed}')
    # Complements are at the same distances, and there is less to go through.
    weight = min(num_active, num_subnns - num_active)
    distances = range(max(bound.distance, 2), 0, -2) if min_distance is None else (min_distance,)
    bar = ProgressBar(progress)
    chosen, construction = None, ''
    try:
        for distance in distances:
            def report(done: float, size: int) -> None:
                bar.update(f'Algorithm 1, H_min {distance}: {size} words', done)

            random = np.random.RandomState(seed)
            found, listed = _greedy_set(num_classes, num_subnns, weight, distance, random, report)
            if len(found) < num_classes:
                continue
            words, num_exchanged = _even_choice(found, num_classes, distance, random)
            fair = is_even(words.sum(axis=0, dtype=np.int64))
            if chosen is None or fair:
                chosen = words
                construction = (
                    f'Algorithm 1 with H_min {distance} over {listed}, |G| = {len(found)}, seed {seed}'
                    + f'; words exchanged for even column sums: {num_exchanged}' * bool(num_exchanged))
            if fair:
                break
    finally:
        bar.close()
    if chosen is None:
        raise ValueError(
            f'Algorithm 1 finds only {len(found)} words at distance {distance}, not {num_classes}:'
            f' ask for a smaller min_distance')
    return (chosen if weight == num_active else 1 - chosen), construction


def _greedy_set(
        num_classes: int,
        num_subnns: int,
        weight: int,
        distance: int,
        random: np.random.RandomState,
        report: Callable[[float, int], None],
) -> tuple[np.ndarray, str]:
    """The set G of Algorithm 1, and what it was taken from; in other orders if the paper's gives too few words."""
    if distance == 2 and can_list(num_subnns, weight):
        return rows_from_supports(all_supports(num_subnns, weight), num_subnns), 'all words'
    # At distance 2 every word of the list is taken, which need not be a long one.
    if distance == 2 or not can_tabulate(num_subnns, weight):
        return _sampled_greedy_set(num_subnns, weight, distance, random, report), f'{SAMPLE_SIZE} random words'
    num_orders = min(max(MAX_WORDS_TRIED // comb(num_subnns, weight), 1), 32)
    found = lexicode(num_subnns, weight, distance, report=report)
    for _ in range(1, num_orders):
        if len(found) >= num_classes:
            break
        mask = int(''.join(map(str, (random.random_sample(num_subnns) < 0.5).astype(int))), 2)
        other = lexicode(num_subnns, weight, distance, mask, report)
        found = max(found, other, key=len)
    return found, 'all words'


def _sampled_greedy_set(
        num_subnns: int,
        weight: int,
        distance: int,
        random: np.random.RandomState,
        report: Callable[[float, int], None],
) -> np.ndarray:
    """The set G when the list L is a random sample of words, in ascending order."""
    left = _random_words(num_subnns, weight, random)
    left = np.unique(np.packbits(left, axis=1), axis=0)
    left = np.unpackbits(left, axis=1, count=num_subnns).astype(np.float32)
    if distance == 2:
        return left.astype(np.uint8)
    members = []
    while len(left):
        members.append(left[0])
        left = left[left @ left[0] <= weight - distance / 2]
        report(1 - len(left) / SAMPLE_SIZE, len(members))
    return np.array(members, dtype=np.uint8)


def _even_choice(
        found: np.ndarray,
        num_classes: int,
        distance: int,
        random: np.random.RandomState,
) -> tuple[np.ndarray, int]:
    """K members of G with even column sums, some exchanged for other words if need be, and how many were."""
    words = even_subset(found, num_classes, random)
    num_subnns, weight = words.shape[1], int(words[0].sum())
    if np.ptp(words.sum(axis=0, dtype=np.int64)) <= 1:
        return words, 0
    if comb(num_subnns, weight) <= SAMPLE_SIZE:
        others = rows_from_supports(all_supports(num_subnns, weight), num_subnns)
    else:
        others = _random_words(num_subnns, weight, random)
    pool = np.concatenate([words, found, others])
    chosen = exchange(pool, np.arange(num_classes), distance, random)
    return pool[chosen], int(np.count_nonzero(chosen != np.arange(num_classes)))


def _random_words(num_subnns: int, weight: int, random: np.random.RandomState) -> np.ndarray:
    """[SAMPLE_SIZE, num_subnns] uint8, drawn evenly from all words of this weight."""
    blocks = []
    for _ in range(0, SAMPLE_SIZE, 4096):
        order = random.random_sample((4096, num_subnns)).argsort(axis=1)
        blocks.append(rows_from_supports(order[:, :weight], num_subnns))
    return np.concatenate(blocks)
