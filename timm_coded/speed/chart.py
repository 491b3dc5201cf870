"""Images a second of models side by side, as bars."""
from typing import TYPE_CHECKING, Sequence

import numpy as np

from ..analysis.findings import new_figure
from .measure import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_rates(comparisons: Sequence[Comparison]) -> 'Figure':
    """A panel for each mode, in it a group of bars for each case; whiskers are the quartiles."""
    modes = list(dict.fromkeys(one.case.mode for one in comparisons))
    widest = max(sum(one.case.mode == mode for one in comparisons) for mode in modes)
    figure = new_figure((2 + 2.2 * widest) * len(modes), 4.5)
    panels = figure.subplots(1, len(modes), squeeze=False)[0]
    for axes, mode in zip(panels, modes):
        groups = [one for one in comparisons if one.case.mode == mode]
        names = [model.name for model in groups[0].models]
        width = 0.8 / len(names)
        for index, name in enumerate(names):
            low, rate, high = np.transpose([rates(one, index) for one in groups])
            places = np.arange(len(groups)) + (index - (len(names) - 1) / 2) * width
            axes.bar(places, rate, width, label=name, yerr=(rate - low, high - rate), capsize=3)
        labels = [f'batch {one.case.batch_size}\n{one.case.image_size} pixels' for one in groups]
        axes.set_xticks(range(len(groups)), labels)
        axes.set(title=mode, ylabel='images a second (median, quartiles)')
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=2)
    return figure


def rates(comparison: Comparison, index: int) -> tuple[float, float, float]:
    """Quartiles of a model's images a second; no bar for one that had not enough memory."""
    times = comparison.models[index].times
    if times is None:
        return 0., 0., 0.
    slow, median, fast = np.percentile(times, (75, 50, 25))
    batch = 1000 * comparison.case.batch_size
    return batch / slow, batch / median, batch / fast
