"""Calibrated probabilities with and without the early decoders, Appendix C of the paper."""
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from timm_coded.codes.progress import is_live

from ..accuracy import check_targets
from ..exits.decoding import agreements
from ..findings import Findings, Picture, Row, Table, new_figure
from ..outputs import Outputs
from .calibration_error import BINS, Reliability, reliability
from .calibrator import Calibrator, fit_calibrator
from .temperature import CalibrationSamples, Temperature

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.25, 0.5)  # of the samples, to fit: Tables 6a and 6b
METHODS = ('uncalibrated', 'h_T, Eq. (10)', 'h_aug, Eq. (11)')
FEWEST = 4  # samples of a class of which a quarter is one


@dataclass
class Trials:
    """What a method came to in repeated splits.

    Attributes:
        ece, mce: in percent, a number for each split, as the next two.
        nll: mean negative log-likelihood, in nats.
        found: the fits.
        bins: reliability, summed over the splits.
    """
    ece: list[float] = field(default_factory=list)
    mce: list[float] = field(default_factory=list)
    nll: list[float] = field(default_factory=list)
    found: list[Temperature] = field(default_factory=list)
    bins: Reliability = field(default_factory=lambda: Reliability(*np.zeros((3, BINS))))

    def add(self, probability: np.ndarray, nll: np.ndarray, correct: np.ndarray, found: Temperature | None) -> None:
        """Takes in the test half of a split: the probability of the predicted class [R], and so on."""
        bins = reliability(probability, correct)
        self.ece.append(bins.ece())
        self.mce.append(bins.mce())
        self.nll.append(float(nll.mean()))
        self.found += [found] if found else []
        self.bins = self.bins + bins


def calibrate(outputs: Outputs, splits: int = 41, seed: int = 0) -> tuple[Findings, Calibrator]:
    """Table 6 on these outputs, a reliability diagram, and a calibrator fitted to all of them.

    Args:
        outputs: of samples that the model has not learnt.
        splits: how often the samples are split, for each of 25 and 50 % to fit; the rest is the test.
        seed: of the splits.

    Raises:
        ValueError: the samples' classes are not known, a class has too few of them, all are predicted right, or a fit
            does not converge.
    """
    check_samples(outputs)
    if splits < 2:
        raise ValueError(f'splits is {splits}, expected 2 at least, for a spread')
    agree = agreements(outputs.decoded(), outputs.predictions)
    samples = CalibrationSamples(outputs.logits, outputs.targets, agree)
    calibrator, found = fit_calibrator(outputs, samples)
    trials = {share: try_splits(samples, outputs.targets, share, splits, seed) for share in SHARES}
    rows = [row for share in SHARES for row in split_rows(share, trials[share])]
    parameters = [{'parameter': 'T', 'value': calibrator.temperature},
                  *({'parameter': f'tau of {block}', 'value': tau} for block, tau in calibrator.taus.items())]
    last = trials[SHARES[-1]]
    findings = Findings(
        'calibrate',
        'Confidence calibration with and without the early decoders (Appendix C)',
        [
            Table('calibration', f'Calibration of {len(samples)} samples (Table 6): mean and standard deviation over '
                                 f'{splits} stratified splits; ECE and MCE in percent, {BINS} bins; NLL in nats', rows),
            Table('reliability', f'Reliability over the tests of {splits} splits, half of the samples each; in percent',
                  reliability_rows(last)),
            Table('calibrator', f'The calibrator, Eq. (11), fitted to all {len(samples)} samples', parameters),
        ],
        [Picture('reliability', 'Reliability diagrams: accuracy by confidence, uncalibrated, by Eq. (10), by Eq. (11)',
                 plot_reliability(last))],
        ['The splits share their samples: the spread is that of splitting, not of new data.'],
    )
    if found.at_bound:
        findings.notes.append(
            'The fit of the calibrator ended at a bound of the temperatures: the likelihood of these samples has no '
            'maximum, so that its parameters mean little; give more samples.')
    if any(row['at bound'] for row in rows):
        findings.notes.append(
            '"at bound": in so many splits a temperature went to its bound, as all samples of the fit, or of a pattern '
            'of agreement, were predicted right or all wrong: there are too few wrong predictions for this method.')
    return findings, calibrator


def check_samples(outputs: Outputs) -> None:
    """Raises ValueError: the samples do not serve to calibrate."""
    check_targets(outputs)
    classes, counts = np.unique(outputs.targets, return_counts=True)
    if counts.min() < FEWEST:
        raise ValueError(f'class {outputs.name_of(classes[counts.argmin()])} has {counts.min()} samples: stratified '
                         f'splits in four need {FEWEST} of each class at least, give more samples')
    if (outputs.predictions == outputs.targets).all():
        raise ValueError(f'all {len(outputs.targets)} predictions are right, so that no temperature is the best: give '
                         'samples that the model has not learnt, or more')


def try_splits(
        samples: CalibrationSamples,
        targets: np.ndarray,
        share: float,
        splits: int,
        seed: int,
) -> dict[str, Trials]:
    """Fits both methods to a share of the samples and tests them on the rest, `splits` times; by method."""
    from sklearn.model_selection import StratifiedShuffleSplit
    from threadpoolctl import threadpool_limits
    trials = {method: Trials() for method in METHODS}
    splitter = StratifiedShuffleSplit(splits, train_size=share, test_size=1 - share, random_state=seed)
    parts = tqdm(splitter.split(targets, targets), f'{100 * share:.0f} % to fit', splits,
                 disable=not is_live(sys.stderr), leave=False)
    with threadpool_limits(1):  # the optimiser's matrices are so small that threads would only wait for each other
        for fitted, tested in parts:
            for method in METHODS:
                found = None if method == METHODS[0] else samples.fit(fitted, augmented=method == METHODS[2])
                temperature = found.of(samples.agree[tested]) if found else np.ones(len(tested))
                trials[method].add(*samples.tested(temperature, tested), samples.correct[tested], found)
    return trials


def split_rows(share: float, trials: dict[str, Trials]) -> list[Row]:
    return [{
        'split': f'{100 * share:.0f}/{100 - 100 * share:.0f}',
        'method': method,
        'ECE': float(np.mean(trial.ece)),
        'ECE std': float(np.std(trial.ece, ddof=1)),
        'MCE': float(np.mean(trial.mce)),
        'MCE std': float(np.std(trial.mce, ddof=1)),
        'NLL': float(np.mean(trial.nll)),
        'NLL std': float(np.std(trial.nll, ddof=1)),
        'median T': float(np.median([found.value for found in trial.found] or [1.])),
        'at bound': sum(found.at_bound for found in trial.found),
    } for method, trial in trials.items()]


def reliability_rows(trials: dict[str, Trials]) -> list[Row]:
    """A row for each bin of each method; None where it is empty."""
    rows = []
    for method, trial in trials.items():
        for index, samples in enumerate(trial.bins.samples):
            rows.append({
                'method': method,
                'above': 100 * index / BINS,
                'up to': 100 * (index + 1) / BINS,
                'samples': int(samples),
                'confidence': 100 * trial.bins.confidence[index] / samples if samples else None,
                'accuracy': 100 * trial.bins.correct[index] / samples if samples else None,
            })
    return rows


def plot_reliability(trials: dict[str, Trials]) -> 'Figure':
    figure = new_figure(9, 3.4)
    for axes, (method, trial) in zip(figure.subplots(1, len(trials), sharey=True), trials.items()):
        used = trial.bins.samples > 0
        confidence = 100 * trial.bins.confidence[used] / trial.bins.samples[used]
        accuracy = 100 * trial.bins.correct[used] / trial.bins.samples[used]
        axes.bar((np.flatnonzero(used) + 0.5) * 100 / BINS, accuracy, width=100 / BINS, edgecolor='white')
        axes.plot(confidence, accuracy, color='black', marker='.', linestyle='none', label='mean confidence of the bin')
        axes.plot([0, 100], [0, 100], color='grey', linestyle='--', label='perfect')
        axes.set(xlabel='confidence [%]', xlim=(0, 100), ylim=(0, 100),
                 title=f'{method}\nECE {np.mean(trial.ece):.2f} %, MCE {np.mean(trial.mce):.1f} %')
    figure.axes[0].set_ylabel('accuracy [%]')
    figure.axes[0].legend(fontsize='small', loc='center left')
    return figure
