"""Figures of the binary classifiers, after Fig. 2b, 2c, 3, 7 and 8 of the paper."""
from typing import TYPE_CHECKING, Sequence

import numpy as np

from ..findings import new_figure
from .binary import NEGATIVES_PER_POSITIVE, Quality
from .class_scores import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_quality(found: dict[str, dict[str, Quality]]) -> 'Figure':
    """A panel for each method: one point for each class and kind of negatives; mean over the draws."""
    figure = new_figure(4 * len(found), 4)
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (method, kinds) in zip(panels, found.items()):
        for kind, one in kinds.items():
            kind, protocol = kind.split(', ')
            if protocol != 'all':
                axes.scatter(one.recall, one.precision.mean(0), alpha=0.5, label=f'negatives: {kind}')
        axes.set(title=method, xlabel='recall [%]')
    panels[0].set(ylabel=f'precision [%], {NEGATIVES_PER_POSITIVE} negatives per positive')
    panels[0].legend()
    return figure


def plot_distributions(
        names: Sequence[str],
        validation: Scores,
        foreign: Scores | None,
        thresholds: np.ndarray,
) -> 'Figure':
    """A panel for each of the first classes: what its extracted classifier puts out for which samples."""
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(3 * columns + 1, 2.4 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for column, (axes, name) in enumerate(zip(panels, names)):
        scores = validation.by_method['extracted'][:, column]
        of_class = validation.targets == validation.classes[column]
        groups = {'of the class': scores[of_class], 'of other classes': scores[~of_class]}
        if foreign is not None:
            groups['foreign'] = foreign.by_method['extracted'][:, column]
        groups = {label: group for label, group in groups.items() if len(group)}
        bins = np.histogram_bin_edges(np.concatenate(list(groups.values())), 40)
        for label, group in groups.items():
            axes.hist(group, bins, density=True, alpha=0.5, label=label)
        axes.axvline(thresholds[column], color='black', linestyle='--', label='threshold')
        axes.set(title=name, xlabel='logit', ylabel='density')
    for axes in list(panels):
        axes.remove()
    figure.axes[0].legend(fontsize='small')
    return figure
