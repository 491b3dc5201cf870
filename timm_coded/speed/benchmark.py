"""Training and inference of models side by side, by the stopwatch: the columns of the paper's Table 5 and more."""
import os
import platform
import sys
from itertools import product
from typing import Sequence

import numpy as np
import torch
from tqdm import tqdm

from timm_coded.analysis.findings import Findings, Picture, Row, Table
from timm_coded.analysis.stopwatch import iqr
from timm_coded.codes.progress import is_live

from ..train import replicas
from ..train.replicas import Replica
from .chart import plot_rates
from .contestant import Case, Setting
from .measure import Comparison, compare
from .sizes import size_table

STOCK, CODED = 'resnext50_32x4d', 'coded_resnext50_32x4d'
PIXELS = {'training': 160, 'inference': 224}  # of the paper's recipe
MEMORY = {
    'cpu': "peak memory: the growth of a process's resident set while it makes and runs that model alone, twice",
    'cuda': "peak memory: of that model's steps alone, by PyTorch's allocator: weights, optimizer state, batch, "
            'activations',
    'xla': 'peak memory is not measured on XLA, whose process also holds the compiler and all the models; `timm-coded '
           "estimate` gives the TPU compiler's exact figure",
}


def default_names(device: str) -> list[str]:
    """The models compared by default: stock timm, the same packed, ours (on XLA also packed), the paper's form."""
    packed = [f'{CODED}:packed'] if device == 'xla' else []
    return [STOCK, f'{STOCK}:packed', CODED, *packed, f'{CODED}:paper']


def make_cases(modes: Sequence[str], batch_sizes: Sequence[int], image_sizes: Sequence[int] | None) -> list[Case]:
    """All combinations; without image sizes, each mode's own of the recipe."""
    return [Case(mode, batch, pixels) for mode in modes
            for batch, pixels in product(batch_sizes, image_sizes or [PIXELS[mode]])]


def run_benchmark(names: Sequence[str], cases: Sequence[Case], setting: Setting, repeats: int) -> Findings:
    """Compares the models in each case.

    Args:
        names: as for `create_form`; the others are compared with the first.
        cases: one or more.
        setting: whose device this machine has.
        repeats: how many times of each model and case.

    Raises:
        UserError: there is no such model, or one cannot run a case.
    """
    sizes = size_table(names, cases, setting.num_classes)  # first, as it takes seconds and finds what cannot run
    replica = replicas.create(setting.device)
    if setting.device == 'cuda':
        torch.backends.cudnn.benchmark = True  # as timm's own training script has it
    comparisons = [compare(names, case, setting, replica, repeats)
                   for case in tqdm(cases, 'cases', disable=not is_live(sys.stderr), leave=False)]
    rows = [row for comparison in comparisons for row in speed_rows(comparison, setting)]
    where = describe(setting, replica)
    ratio = f'ratio: of images/s to those of {names[0]}, pair by pair'
    return Findings(
        'benchmark',
        f'Models side by side, measured by the stopwatch on {where}',
        [Table('speed', f'Measured speed on {where}; {ratio}', rows), sizes],
        [Picture('speed', f'Bars of the measured images a second of {", ".join(names)} on {where}',
                 plot_rates(comparisons))],
        notes(comparisons, setting, replica),
    )


def speed_rows(comparison: Comparison, setting: Setting) -> list[Row]:
    """A row for each model; of one that had not enough memory only the name."""
    first = comparison.models[0].times
    rows = []
    for model in comparison.models:
        case, times = comparison.case, model.times
        median = None if times is None else float(np.median(times))
        ratios = None if times is None or first is None else first / times
        row = {
            'model': model.name, 'mode': case.mode, 'batch': case.batch_size, 'pixels': case.image_size,
            'median [ms]': median,
            'IQR [ms]': None if times is None else iqr(times),
            'images/s': None if median is None else 1000 * case.batch_size / median,
            'ratio': None if ratios is None else np.median(ratios),
            'ratio, IQR': None if ratios is None else iqr(ratios),
            'first call - median [s]': None if median is None else model.first - median / 1000,
        }
        if setting.device == 'xla':
            row['graphs'] = model.graphs
        else:
            row['peak [MiB]'] = model.peak
        rows.append({**row, 'repeats': 0 if times is None else len(times)})
    return rows


def describe(setting: Setting, replica: Replica) -> str:
    """Device, release and setting."""
    kind = {
        'cpu': f'{platform.machine()}, {torch.get_num_threads()} threads',
        'xla': f'host: {platform.machine()}, {os.cpu_count()} cores',
    }.get(setting.device) or torch.cuda.get_device_name(replica.device)
    precision = 'float32' if setting.amp_dtype is None else f'autocast {str(setting.amp_dtype).removeprefix("torch.")}'
    options = [name for name, chosen in
               (('channels_last', setting.channels_last), ('torch.compile', setting.compiled)) if chosen]
    return ', '.join([f'{replica.name} ({kind})', f'torch {torch.__version__}', precision, *options])


def notes(comparisons: Sequence[Comparison], setting: Setting, replica: Replica) -> list[str]:
    """What one has to know to read the tables right."""
    lines = [
        'random weights and images that are on the device already; training is the step of train_xla.py without its '
        'input: forward, losses, backward, SGD',
        'models take turns, in an order that alternates; IQR is the distance of the quartiles',
        MEMORY[setting.device] if not (setting.device == 'cpu' and setting.compiled) else
        'peak memory is not measured with torch.compile on the CPU, where the process holds the compiler too',
    ]
    if setting.device == 'cuda':
        allowed = {True: 'allowed', False: 'not allowed'}
        lines.append(f'TF32 is {allowed[torch.backends.cudnn.allow_tf32]} in convolutions, '
                     f'{allowed[torch.backends.cuda.matmul.allow_tf32]} in matrix products; cudnn.benchmark is on, as '
                     "in timm's train.py")
    for one in comparisons:
        missing = [model.name for model in one.models if model.times is None]
        if missing:
            lines.append(f'{one.case}: out of memory: {", ".join(missing)}')
        if one.recompilations:
            lines.append(f'WARNING: {one.case}: XLA compiled {one.recompilations} graphs while times were taken: '
                         'they hold compile time')
    fallbacks = sorted(set(replica.fallbacks()) - {'aten::_local_scalar_dense'})
    if fallbacks:
        lines.append(f'WARNING: XLA ran on the host, as it has no such operators: {", ".join(fallbacks)}')
    return lines
