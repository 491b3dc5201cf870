"""Rows and figure of what removing subNNs does."""
from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence

import numpy as np

from ..findings import Row, new_figure
from ..sampling import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ('active', 'inactive')


@dataclass(frozen=True)
class Removal:
    """k of the subNNs that are active (or inactive) for a sample's class, in the draw's random order of them."""
    kind: str
    count: int
    draw: int


def block_rows(
        block: str,
        removals: Sequence[Removal],
        measured: np.ndarray,
        whole: np.ndarray,
        samples: int,
) -> list[Row]:
    """Rows by kind and k, from k = 0 on.

    Args:
        measured: Accuracy in percent and cross-entropy after each removal, [R, 2].
        whole: The same with nothing removed, [2].
    """
    rows = []
    for kind in KINDS:
        most = max(removal.count for removal in removals if removal.kind == kind)
        for count in range(most + 1):
            chosen = [removal.kind == kind and removal.count == count for removal in removals]
            drawn = measured[chosen] if count else whole[None]
            rows.append({
                'block': block,
                'removed': kind,
                'k': count,
                'of': most,
                'accuracy': drawn[:, 0].mean(),
                'accuracy std': spread(drawn[:, 0]),
                'cross-entropy': drawn[:, 1].mean(),
                'cross-entropy std': spread(drawn[:, 1]),
                'draws': len(drawn),
                'samples': samples,
            })
    return rows


def plot_removal(rows: Sequence[Row]) -> 'Figure':
    """A panel for each block."""
    blocks = list(dict.fromkeys(row['block'] for row in rows))
    columns = min(3, len(blocks))
    lines = -(-len(blocks) // columns)
    figure = new_figure(3.5 * columns + 1, 2.6 * lines + 0.6)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flat
    for axes, block in zip(panels, blocks):
        for kind in KINDS:
            own = [row for row in rows if row['block'] == block and row['removed'] == kind]
            axes.errorbar([row['k'] for row in own], [row['accuracy'] for row in own],
                          [row['accuracy std'] or 0. for row in own], marker='o', markersize=3, label=f'{kind} removed')
        axes.set(title=block, xlabel='subNNs removed', ylabel='accuracy [%]')
        axes.locator_params(axis='x', integer=True)
    for axes in list(panels):
        axes.remove()
    figure.axes[0].legend(fontsize='small')
    return figure
