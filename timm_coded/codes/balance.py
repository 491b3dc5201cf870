"""Rule B of the paper (Appendix A): every subNN should serve about as many classes as any other."""
import numpy as np

from .words import rows_from_masks


def mixed_order(size: int) -> np.ndarray:
    """[size] indices in steps near the golden section, for lists in which neighbours are alike."""
    stride = next(step for step in range(int(0.618 * size) + 1, 2 * size + 2) if np.gcd(step, size) == 1)
    return np.arange(size) * stride % size


def balanced_words(masks: np.ndarray, num_subnns: int, count: int, window: int = 2048) -> np.ndarray:
    """The first `count` of the words, in an order that keeps the column sums of any prefix close.

    Args:
        masks: [M] uint64, bit n for subNN n.
        num_subnns: N.
        count: At most M.
        window: That of `balanced_order`.

    Returns:
        [count, num_subnns] uint8.
    """
    seen = masks[mixed_order(len(masks))[:count + window]]  # no others are looked at
    rows = rows_from_masks(seen, num_subnns)
    return rows[balanced_order(rows, count, window)]


def is_even(column_sums: np.ndarray, least: int = 2) -> np.ndarray:
    """[..., N] -> [...]: whether the numbers of classes of the subNNs differ by a tenth at most, or by `least`."""
    return np.ptp(column_sums, axis=-1) <= np.maximum(least, 0.1 * column_sums.mean(axis=-1))


def even_prefix(words: np.ndarray) -> int:
    """How many of the words [M, N], from the first on, have even column sums after each: to a tenth, or to within 4."""
    uneven = np.flatnonzero(~is_even(np.cumsum(words, axis=0, dtype=np.int64), least=4))
    return int(uneven[0]) if len(uneven) else len(words)


def balanced_order(words: np.ndarray, count: int | None = None, window: int = 512) -> np.ndarray:
    """An order of words in which the column sums of every prefix stay close to each other.

    Greedy: of the next `window` words, take the one that is active where the column sums are lowest. The result does
    not depend on `count`, so that a shorter scheme is a prefix of a longer one.

    Args:
        words: [M, N] uint8.
        count: How many words are wanted, M by default.
        window: How many words are looked at in each step: the time is proportional to it.

    Returns:
        [count] indices of words.
    """
    count = len(words) if count is None else count
    pool = np.array(words[:window], dtype=np.float32)
    indices = np.arange(len(pool))
    sums = np.zeros(words.shape[1], dtype=np.float32)
    order = np.empty(count, dtype=np.int64)
    for step in range(count):
        # The mean goes out so that float32 stays exact in all that matters, however long the scheme is.
        best = int(np.argmin(pool @ (sums - sums.min())))
        order[step] = indices[best]
        sums += pool[best]
        following = window + step
        if following < len(words):
            pool[best], indices[best] = words[following], following
        else:
            pool[best], indices[best] = pool[-1], indices[-1]
            pool, indices = pool[:-1], indices[:-1]
    return order


def even_subset(words: np.ndarray, count: int, random: np.random.RandomState, patience: int = 300) -> np.ndarray:
    """Chooses words whose column sums are as even as can be: lines 19 to 27 of the paper's Algorithm 1.

    The paper tries all subsets, where there are not too many. This starts from a greedy choice and swaps single words
    as long as the sum of squared column sums falls; at a standstill it makes a random swap and goes on from there.

    Args:
        words: [M, N] uint8.
        count: How many to choose, at most M.
        random: Decides between equals, and the random swaps.
        patience: How many standstills to go through before the best choice so far is taken.

    Returns:
        [count, N] uint8, in the order in which they are in `words`.
    """
    num_words, num_subnns = words.shape
    rows = words.astype(np.float64)
    num_active = rows[0].sum()
    inside = np.zeros(num_words, dtype=bool)
    start = random.permutation(num_words)
    inside[start[balanced_order(words[start], count)]] = True
    # N times the column sums less their mean: integers, so that no rounding decides what is chosen.
    uneven = num_subnns * rows[inside].sum(axis=0) - num_active * count
    best, best_score = inside.copy(), uneven @ uneven
    while patience and best_score > least_unevenness(num_subnns, int(num_active) * count) and not inside.all():
        costs = rows @ uneven
        leaving, entering = np.flatnonzero(inside), np.flatnonzero(~inside)
        leaving = leaving[np.argsort(-costs[leaving], kind='stable')[:128]]
        entering = entering[np.argsort(costs[entering], kind='stable')[:128]]
        # Swapping u for v changes the score by N times 2 uneven (v - u) + N |v - u|^2, and |v - u|^2 = 2 (N_act - u v).
        shared = rows[leaving] @ rows[entering].T
        change = costs[entering][None, :] - costs[leaving][:, None] + num_subnns * (num_active - shared)
        i, j = np.unravel_index(change.argmin(), change.shape)
        if change[i, j] >= 0:
            patience -= 1
            i, j = int(random.random_sample() * len(leaving)), int(random.random_sample() * len(entering))
        inside[leaving[i]], inside[entering[j]] = False, True
        uneven += num_subnns * (rows[entering[j]] - rows[leaving[i]])
        if uneven @ uneven < best_score:
            best, best_score = inside.copy(), uneven @ uneven
    return words[best]


def least_unevenness(num_subnns: int, num_ones: int) -> int:
    """The sum over columns of (N S_n - num_ones)^2 when the column sums S_n are as even as integers can be."""
    more = num_ones % num_subnns
    return more * (num_subnns - more) ** 2 + (num_subnns - more) * more ** 2
