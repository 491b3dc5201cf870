"""Evens out the column sums of a scheme by exchanging its words for any others, at an unchanged minimum distance."""
import numpy as np

from .balance import least_unevenness

# Words compared with all chosen ones at once, to bound the memory.
BLOCK = 4096


def exchange(
        words: np.ndarray,
        chosen: np.ndarray,
        min_distance: int,
        random: np.random.RandomState,
        patience: int = 200,
) -> np.ndarray:
    """A tabu search over swaps of one chosen word for one that is too near to none of the others.

    Args:
        words: [M, N] uint8, words of one weight: the chosen ones and those that may take their places.
        chosen: [K] indices of words that are `min_distance` apart.
        min_distance: The distance to keep.
        random: Decides between equals.
        patience: How many swaps to go on without getting better.

    Returns:
        [K] indices of words `min_distance` apart, with a sum of squared column sums that is no larger.
    """
    rows = words.astype(np.float64)
    chosen = chosen.copy()
    num_subnns, num_active = rows.shape[1], int(rows[0].sum())
    most_shared = num_active - min_distance // 2
    # How many of the chosen words are too near to each word, itself included, and the sum of their places in `chosen`.
    conflicts, places = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    for start in range(0, len(rows), BLOCK):
        too_near = rows[start:start + BLOCK] @ rows[chosen].T > most_shared
        conflicts[start:start + BLOCK] = too_near.sum(axis=1)
        places[start:start + BLOCK] = too_near @ np.arange(len(chosen))
    # N times the column sums less their mean: integers, so that no rounding decides what is chosen.
    uneven = num_subnns * rows[chosen].sum(axis=0) - num_active * len(chosen)
    best, best_score = chosen.copy(), uneven @ uneven
    tabu_until = np.zeros(len(rows), dtype=np.int64)
    step = last_gain = 0
    while step - last_gain < patience and best_score > least_unevenness(num_subnns, num_active * len(chosen)):
        step += 1
        costs = rows @ uneven
        possible = (conflicts <= 1) & (tabu_until < step)
        possible[chosen] = False
        candidates = np.flatnonzero(possible)
        if not len(candidates):
            break
        # A word with one conflict can take the place of just that one, a word with none any place: the costliest.
        out_places = np.where(conflicts[candidates] == 1, places[candidates], costs[chosen].argmax())
        leaving = chosen[out_places]
        shared = (rows[candidates] * rows[leaving]).sum(axis=1)
        change = costs[candidates] - costs[leaving] + num_subnns * (num_active - shared)
        pick = int((change + random.random_sample(len(change))).argmin())
        entering, place, left = candidates[pick], out_places[pick], leaving[pick]
        for word, sign in ((left, -1), (entering, 1)):
            near = rows @ rows[word] > most_shared
            conflicts += sign * near
            places += sign * place * near
            uneven += sign * num_subnns * rows[word]
        chosen[place] = entering
        tabu_until[left] = step + 5 + int(10 * random.random_sample())
        if uneven @ uneven < best_score:
            best, best_score, last_gain = chosen.copy(), uneven @ uneven, step
    return best
