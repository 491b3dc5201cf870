"""What steps took the host, as tables and a chart."""
from typing import Sequence

import numpy as np

from timm_coded.analysis.findings import Picture, Row, new_figure

from .host_clock import Laps

WHOLE = 'whole step'
Measured = dict[str, dict[str, list[Laps]]]  # by model and path ('traced', 'replayed'), steps in the order of measuring


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, first and third quartile."""
    median, low, high = np.quantile(values, (0.5, 0.25, 0.75)).tolist()
    return median, low, high


def phase_rows(measured: Measured) -> list[Row]:
    rows = []
    for model, paths in measured.items():
        for path, steps in paths.items():
            for phase in (*steps[0], WHOLE):
                values = [sum(step.values()) if phase == WHOLE else step[phase] for step in steps]
                median, low, high = spread(values)
                rows.append({'model': model, 'path': path, 'phase': phase, 'median_ms': median,
                             'quartile1_ms': low, 'quartile3_ms': high, 'steps': len(steps)})
    return rows


def pair_rows(measured: Measured) -> list[Row]:
    rows = []
    for model, paths in measured.items():
        if 'replayed' in paths:
            pairs = zip(paths['replayed'], paths['traced'])
            median, low, high = spread([sum(ours.values()) / sum(theirs.values()) for ours, theirs in pairs])
            rows.append({'model': model, 'ratio': median, 'quartile1': low, 'quartile3': high,
                         'pairs': len(paths['replayed'])})
    return rows


def draw(measured: Measured) -> Picture:
    """Stacked bars: phases of each model and path."""
    bars = [(f'{model}\n{path}', steps) for model, paths in measured.items() for path, steps in paths.items()]
    figure = new_figure(9, 1.2 + 0.6 * len(bars))
    axes = figure.subplots()
    left = [0.0] * len(bars)
    for phase in dict.fromkeys(phase for _, steps in bars for phase in steps[0]):
        widths = [spread([step[phase] for step in steps])[0] if phase in steps[0] else 0.0 for _, steps in bars]
        axes.barh([name for name, _ in bars], widths, left=left, label=phase)
        left = [start + width for start, width in zip(left, widths)]
    axes.invert_yaxis()
    axes.set_xlabel('CPU time of the host, ms a step (medians)')
    axes.legend(fontsize='small')
    title = 'Bars of the phases of a training step on the host: ' + ', '.join(
        f'{name.replace(chr(10), " ")} {width:.1f} ms' for (name, _), width in zip(bars, left))
    return Picture('host', title, figure)
