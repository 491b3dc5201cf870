"""Thresholds of binary classifiers and what they are worth: precision, recall and F1, Section 4.3 of the paper."""
from dataclasses import dataclass

import numpy as np

NEGATIVES_PER_POSITIVE = 9  # of the paper's protocol (its footnote 4), that of CIFAR-10's classes


def f1_threshold(scores: np.ndarray, positive: np.ndarray) -> np.float32:
    """The threshold of the highest F1, where a sample is named positive if its score is not below the threshold.

    It lies in the middle between the lowest score named positive and the next one below. Of several equally good ones
    the highest is taken, which names the fewest.

    Args:
        scores: [S] float32.
        positive: Which of the samples are of the class, [S] bool; one at least.
    """
    order = np.argsort(-scores, kind='stable')
    ranked = scores[order]
    hits = np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
    f1[:-1][ranked[:-1] == ranked[1:]] = -1.  # equal scores are named together
    best = int(f1.argmax())
    if best == len(ranked) - 1:
        return ranked[best]
    middle = np.float32((np.float64(ranked[best]) + np.float64(ranked[best + 1])) / 2)
    return middle if middle > ranked[best + 1] else ranked[best]


def f1_thresholds(scores: np.ndarray, targets: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """`f1_threshold` of each column of the scores [S, C]: [C] float32. `classes` [C] are the columns' classes."""
    return np.array([f1_threshold(scores[:, column], targets == index) for column, index in enumerate(classes)])


@dataclass
class Counts:
    """How often C classifiers name a sample positive: of positives and of negatives that there are, each [C]."""
    true_positives: np.ndarray
    positives: np.ndarray
    false_positives: np.ndarray
    negatives: np.ndarray


def count(scores: np.ndarray, targets: np.ndarray, classes: np.ndarray, thresholds: np.ndarray) -> Counts:
    """Counts on samples of the classes: those of other classes are a classifier's negatives. Arrays as above."""
    named = scores >= thresholds
    of_class = targets[:, None] == classes
    hits, positives = (named & of_class).sum(0), of_class.sum(0)
    return Counts(hits, positives, named.sum(0) - hits, len(targets) - positives)


def with_foreign(counts: Counts, scores: np.ndarray, thresholds: np.ndarray) -> Counts:
    """The same positives, with samples of none of the classes as negatives: their scores are [S, C]."""
    negatives = np.full_like(counts.positives, len(scores))
    return Counts(counts.true_positives, counts.positives, (scores >= thresholds).sum(0), negatives)


@dataclass
class Quality:
    """Of C classifiers and D draws of negatives, in percent: precision and f1 [D, C], recall [C]; negatives [C]."""
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    negatives: np.ndarray


def quality(counts: Counts, draws: int | None = None, seed: int = 0) -> Quality:
    """Precision (0 for a classifier that names none), recall and F1.

    Args:
        counts: At least one positive for each classifier.
        draws: How often to draw 9 negatives for each positive at random without replacement, or all where there are
            fewer. None takes all negatives once.

    Drawing m of M negatives, F of which are named positive, is a draw of how many named ones are among the m: that has
    the hypergeometric distribution, from which it is drawn, with no sample touched.
    """
    hits, false, negatives = counts.true_positives, counts.false_positives[None], counts.negatives
    if draws is not None:
        negatives = np.minimum(NEGATIVES_PER_POSITIVE * counts.positives, negatives)
        rng = np.random.default_rng(seed)
        false = rng.hypergeometric(
            counts.false_positives, counts.negatives - counts.false_positives, negatives, (draws, len(hits)))
    return Quality(
        100. * hits / np.maximum(hits + false, 1),
        100. * hits / counts.positives,
        100. * 2 * hits / (hits + false + counts.positives),
        negatives,
    )
