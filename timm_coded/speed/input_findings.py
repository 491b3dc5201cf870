"""What `timm-coded input` found, as tables and a picture."""
import statistics
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis.findings import Findings, Picture, Table, new_figure
from .input import WAYS, Rates, Sizes, measure_overlap, measure_rates, open_images
from .input_parts import measure_parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.5, 0.8, 1.5)  # of the device's time, what the host needs: it can keep up, just so, and cannot
PARTS_ROUNDS = 3


def measure_input(
        folder: Path,
        workers: list[int],
        rounds: int,
        sizes: Sizes,
        device_rate: float | None = None,
        made: bool = False,
) -> Findings:
    """Measures it all, by the stopwatch.

    Args:
        folder: of class folders of images.
        workers: numbers of loader processes; 0 for none.
        rounds: that are measured, after one that is not.
        device_rate: images a second that a device trains on, if the cores that feed it are to be told.
        made: whether the images were made on the spot.
    """
    passes = {count: open_images(folder, sizes.images(count)) for count in workers}  # all, before anything slow
    few = open_images(folder, sizes.images(0))
    rates = {count: measure_rates(dataset, count, rounds, sizes) for count, dataset in passes.items()}
    parts = measure_parts(few, PARTS_ROUNDS, sizes)
    busy = max(1, max(workers) // 2)
    short = replace(sizes, batch=max(1, sizes.batch // 4))  # for many steps
    overlap = [measure_overlap(open_images(folder, sizes.images(busy)), busy, share, short) for share in SHARES]
    images = 'JPEG files made on the spot' if made else f'images of {folder}'
    return Findings(
        'input',
        'Images a second that the host loads',
        tables=[
            Table('input', 'Measured (stopwatch): images/s, median of the rounds, and ratios pair by pair',
                  [row for count in workers for row in rate_rows(rates[count], count, device_rate)]),
            Table('input-parts', 'Measured (CPU time): milliseconds of an image in one process, median of '
                  f'{PARTS_ROUNDS} rounds', parts),
            Table('input-overlap', "Measured (stopwatch), the device simulated by sleeping: does it wait for input?",
                  overlap),
        ],
        pictures=[Picture('input', 'Images a second of each way in training and evaluation, by loader processes',
                          draw(rates))],
        notes=[
            f'{images}: training at {sizes.train} pixels (random resized crop, flip, rand-m7-mstd0.5-inc1, erasing), '
            f'evaluation at {sizes.eval}; batches of {sizes.batch}, {rounds} rounds in which all ways have their turn.',
            *(f'{way}: {text}.' for way, text in WAYS.items()),
            'A core is a loader process, or this one for 0 workers, which is measured in its own CPU time.',
        ],
    )


def rate_rows(rates: Rates, workers: int, device_rate: float | None) -> list[dict[str, Any]]:
    rows = []
    for (way, training), found in rates.items():
        low, middle, high = quartiles(found)
        ratio_low, ratio, ratio_high = quartiles([own / paper for own, paper in zip(found, rates['paper', training])])
        core = middle / max(1, workers)
        rows.append({
            'images': 'training' if training else 'evaluation',
            'way': way,
            'workers': workers,
            'images_s': middle,
            'iqr': high - low,
            'images_s_a_core': core,
            'times_paper': ratio,
            'times_paper_low': ratio_low,
            'times_paper_high': ratio_high,
            'n': len(found),
            **({'cores_needed': device_rate / core} if device_rate else {}),
        })
    return rows


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else values * 3
    return low, middle, high


def draw(rates: dict[int, Rates]) -> 'Figure':
    figure = new_figure(10, 4)
    for axes, training in zip(figure.subplots(1, 2), (True, False)):
        for number, way in enumerate(WAYS):
            values = [quartiles(found[way, training]) for found in rates.values()]
            middles = [middle for _, middle, _ in values]
            spread = [[middle - low for low, middle, _ in values], [high - middle for _, middle, high in values]]
            places = [place + 0.27 * (number - 1) for place in range(len(rates))]
            axes.bar(places, middles, 0.25, yerr=spread, label=way)
        axes.set_xticks(range(len(rates)), list(map(str, rates)))
        axes.set_xlabel('loader processes')
        axes.set_ylabel('images/s, median and quartiles')
        axes.set_title('training' if training else 'evaluation')
    figure.legend(*axes.get_legend_handles_labels(), loc='outside upper center', ncols=len(WAYS))
    return figure
