"""How far probabilities are from the accuracy that they promise: ECE and MCE, Appendix C of the paper."""
from dataclasses import dataclass

import numpy as np

BINS = 15  # M of the paper


@dataclass
class Reliability:
    """Sums over the samples of each bin I_m = ((m - 1) / M, m / M], all [M]; those of several tests can be added.

    Attributes:
        samples: how many.
        confidence: sum of their probabilities.
        correct: how many are predicted right.
    """
    samples: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    def __add__(self, other: 'Reliability') -> 'Reliability':
        return Reliability(
            self.samples + other.samples, self.confidence + other.confidence, self.correct + other.correct)

    def gaps(self) -> np.ndarray:
        """|acc(B_m) - conf(B_m)|, Eq. (8) and (9), in percent; 0 in an empty bin."""
        return 100 * np.abs(self.correct - self.confidence) / self.samples.clip(1)

    def ece(self) -> float:
        """Expected calibration error in percent: the mean of the gaps, weighted by the samples."""
        return float((self.samples * self.gaps()).sum() / self.samples.sum())

    def mce(self) -> float:
        """Maximum calibration error in percent: the largest of the gaps."""
        return float(self.gaps().max())


def reliability(probability: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Sorts samples into bins.

    Args:
        probability: of the predicted class, [S], in (0, 1].
        correct: whether it is the target, [S].
        bins: M.
    """
    upper = np.arange(1, bins + 1) / bins
    index = np.minimum(np.searchsorted(upper, probability, side='left'), bins - 1)  # the first m / M not below
    return Reliability(
        np.bincount(index, minlength=bins),
        np.bincount(index, weights=probability, minlength=bins),
        np.bincount(index, weights=correct, minlength=bins),
    )
