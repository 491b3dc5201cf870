"""Temperature scaling, Eq. (10) of the paper, and the one that knows the early decoders, Eq. (11)."""
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .log_partition import HIGHEST, LOWEST, interpolate, log_partition

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

TOLERANCE = 1e-6  # of the projected gradient of the mean negative log-likelihood
RESTARTS = 10  # at most, of an optimiser whose memory of the curvature has led it astray
NEAR_BOUND = 1.001  # a temperature within this factor of the lowest counts as being there


@dataclass
class Temperature:
    """Parameters of a calibration and how they were found.

    Attributes:
        value: T.
        taus: tau_i of each early decoder [n]; empty for Eq. (10).
        nll: mean negative log-likelihood of the samples of the fit.
        gradient: largest component of its projected gradient at the end.
        at_bound: a temperature of the fit ended at the lowest or the highest that is allowed: where all samples of some
            pattern of agreement are predicted right, the likelihood rises for ever as their temperature falls.
    """
    value: float
    taus: np.ndarray
    nll: float
    gradient: float
    at_bound: bool

    def of(self, agree: np.ndarray) -> np.ndarray:
        """T_aug [S] of Eq. (11), positive; `agree` [S, n] tells which early decoders name the predicted class."""
        return augmented_temperature(self.value, self.taus, agree)


def augmented_temperature(value: float, taus: np.ndarray, agree: np.ndarray) -> np.ndarray:
    """T (1 + sum_i 1[e_i = y_hat] tau_i), Eq. (11), [S]."""
    return value * (1 + agree[:, :len(taus)] @ taus)


class CalibrationSamples:
    """What calibration has to know of S samples; made once, it serves any number of fits and tests on parts of them.

    Attributes:
        agree: [S, n], 1. where an early decoder names the predicted class, else 0.
        correct: [S], whether the predicted class is the target.
        gap: [S], largest logit less the target's.
    """

    def __init__(self, logits: np.ndarray, targets: np.ndarray, agree: np.ndarray) -> None:
        """
        Args:
            logits: [S, K].
            targets: [S].
            agree: [S, n] bool, which early decoders name the predicted class.

        Raises:
            ValueError: a logit is not finite.
        """
        self.table = log_partition(logits)
        self.agree = agree.astype(np.float64)
        self.correct = logits.argmax(1) == targets
        own = np.take_along_axis(logits, targets[:, None], 1)[:, 0]
        self.gap = logits.max(1).astype(np.float64) - own
        self.patterns, self.pattern = np.unique(self.agree, axis=0, return_inverse=True)
        self.pattern = self.pattern.reshape(-1)  # NumPy 2.0 alone gives it another shape

    def __len__(self) -> int:
        return len(self.gap)

    def tested(self, temperature: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probability of the predicted class and negative log-likelihood of the samples `rows` at temperatures [R]."""
        g, _ = interpolate(self.table, temperature, rows)
        return np.exp(-g.clip(0)), g + self.gap[rows] / temperature

    def fit(self, rows: np.ndarray, augmented: bool) -> Temperature:
        """The maximum-likelihood calibration on the samples `rows`, Eq. (11) if augmented, else Eq. (10).

        T_aug must be positive for each pattern of agreement, also for those that no sample of the fit has. That is so
        exactly if its smallest value T_0 = T (1 + sum_i min(tau_i, 0)) is positive. With a_i = 1[e_i = y_hat],

            T_aug = T_0 (1 + sum_i (a_i u_i + (1 - a_i) v_i)),    u_i, v_i >= 0,    T_0 >= 1/32,

        is Eq. (11) with T = T_0 (1 + sum_i v_i), tau_i = T_0 (u_i - v_i) / T, for all values that are allowed. L-BFGS-B
        minimises in log T_0, u and v; Eq. (11) starts at what Eq. (10) found. A sample's part in the likelihood depends
        on its pattern alone, so that sums by pattern, of the tables in `log_partition`, are all that it sees.

        Raises:
            ValueError: it does not converge.
        """
        from scipy.sparse import csr_array
        members = csr_array(
            (np.ones(len(rows)), (self.pattern[rows], rows)), shape=(len(self.patterns), len(self))) / len(rows)
        table = (members @ self.table.reshape(len(self), -1)).reshape(-1, *self.table.shape[1:])
        gap, patterns = members @ self.gap, self.patterns
        used = np.bincount(self.pattern[rows], minlength=len(patterns)) > 0
        plain = patterns[:, :0]
        found = minimise(table, gap, plain, np.zeros(1))
        if augmented:
            start = np.concatenate((found.x[:1], np.zeros(2 * patterns.shape[1])))
            found = minimise(table, gap, patterns, start)
        base, up, down = split_parameters(found.x)
        value = base * (1 + down.sum())
        gradient = projected_gradient(found.x, found.jac)
        if gradient > TOLERANCE:
            raise ValueError(f'the fit of the temperature did not converge: gradient {gradient:.1e} after {found.nit} '
                             f'steps, expected {TOLERANCE:.0e} at most; give more samples')
        result = Temperature(value, base * (up - down) / value, float(found.fun), gradient, False)
        reached = result.of(patterns[used])
        result.at_bound = bool(reached.min() < LOWEST * NEAR_BOUND or reached.max() > HIGHEST / NEAR_BOUND)
        return result


def minimise(table: np.ndarray, gap: np.ndarray, patterns: np.ndarray, start: np.ndarray) -> 'OptimizeResult':
    """Fits log T_0, u and v to sums by pattern; SciPy's result."""
    from scipy.optimize import minimize
    decoders = patterns.shape[1]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        base, up, down = split_parameters(x)
        scale = 1 + patterns @ up + (1 - patterns) @ down
        g, slope = interpolate(table, base * scale)
        linear = gap / (base * scale)
        by_log = -(slope + linear)  # derivative by the log of each pattern's temperature
        gradient = np.concatenate(([by_log.sum()], patterns.T @ (by_log / scale), (1 - patterns).T @ (by_log / scale)))
        return float((g + linear).sum()), gradient

    bounds = [(np.log(LOWEST), np.log(HIGHEST))] + 2 * decoders * [(0, None)]
    options = {'maxiter': 5000, 'maxfun': 20000, 'ftol': 0., 'gtol': TOLERANCE / 100, 'maxcor': 2 * decoders + 1}
    for _ in range(RESTARTS):
        found = minimize(objective, start, jac=True, method='L-BFGS-B', bounds=bounds, options=options)
        start = found.x
        if projected_gradient(found.x, found.jac) <= TOLERANCE:
            break
    return found


def split_parameters(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """T_0, u [n] and v [n] of the optimiser's variables."""
    up, down = x[1:].reshape(2, -1)
    return float(np.exp(x[0])), up, down


def projected_gradient(x: np.ndarray, gradient: np.ndarray) -> float:
    """Largest component of the gradient that the bounds leave free."""
    lower = np.concatenate(([np.log(LOWEST)], np.zeros(len(x) - 1)))
    upper = np.concatenate(([np.log(HIGHEST)], np.full(len(x) - 1, np.inf)))
    return float(np.abs(np.clip(x - gradient, lower, upper) - x).max())
