"""Accuracy of the network and of its early decoders, Fig. 4 of the paper."""
from typing import TYPE_CHECKING

import numpy as np

from .findings import Findings, Picture, Row, Table, new_figure
from .outputs import Outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def evaluate_accuracy(outputs: Outputs) -> Findings:
    """Top-1 and top-5 of the network, top-1 of the early decoder of every coded block, in percent.

    Raises:
        ValueError: the samples' classes are not known.
    """
    check_targets(outputs)
    samples, classes = outputs.logits.shape
    decoders = {block: percent(decoded == outputs.targets) for block, decoded in outputs.decoded().items()}
    rows: list[Row] = [
        {'what': 'network, top-1', 'accuracy': percent(outputs.predictions == outputs.targets)},
        {'what': f'network, top-{min(5, classes)}', 'accuracy': percent(in_top(outputs.logits, outputs.targets, 5))},
        *({'what': f'early decoder of {block}', 'accuracy': value} for block, value in decoders.items()),
    ]
    return Findings(
        'evaluate',
        'Accuracy of the network and of its early decoders (Section 4.4)',
        [Table('accuracy', f'Accuracy in percent on {samples} samples of {classes} classes', rows)],
        [Picture('decoders', 'Accuracy of each early decoder beside that of the network (Fig. 4)',
                 plot_decoders(decoders, rows[0]['accuracy']))],
    )


def plot_decoders(accuracies: dict[str, float], network: float) -> 'Figure':
    figure = new_figure(6, 3.5)
    axes = figure.subplots()
    axes.plot(list(accuracies), list(accuracies.values()), marker='o', label='early decoder')
    axes.axhline(network, color='black', linestyle='--', label='network')
    axes.set(xlabel='coded block', ylabel='accuracy [%]')
    axes.tick_params(axis='x', rotation=45)
    axes.legend()
    return figure


def check_targets(outputs: Outputs) -> None:
    """Raises ValueError: the samples' classes are not known."""
    if (outputs.targets < 0).any():
        raise ValueError('these outputs are of samples whose classes the model does not know: give those of its own')


def percent(hits: np.ndarray) -> float:
    return 100 * float(np.mean(hits))


def in_top(logits: np.ndarray, targets: np.ndarray, count: int) -> np.ndarray:
    """Whether each target [S] is among the `count` highest of the logits [S, K]."""
    own = np.take_along_axis(logits, targets[:, None], 1)
    return (logits > own).sum(1) < count
