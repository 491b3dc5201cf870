"""Mean energy of every subNN for every class, beside the coding scheme that says which should work."""
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..accuracy import check_targets
from ..findings import Findings, Picture, Row, Table, new_figure
from ..outputs import Outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def energy_map(outputs: Outputs) -> Findings:
    """Mean of r E_n over the samples of each class, in every coded block; Eq. (5) wants it to be the codeword.

    Raises:
        ValueError: the samples' classes are not known.
    """
    check_targets(outputs)
    means = {block: class_means(outputs, block) for block in outputs.blocks}
    rows = [row for block in outputs.blocks for row in class_rows(outputs, block, means[block])]
    return Findings(
        'energies',
        'Energies of the subNNs by class, beside the coding scheme',
        [
            Table('energies', 'Mean energy r E_n of active subNNs (1 is wanted) and of inactive ones (0 is wanted)',
                  [summary(outputs, block, means[block]) for block in outputs.blocks]),
            Table('energies-classes', 'Mean energy r E_n of every subNN n for every class', rows),
        ],
        [Picture(f'energies-{block}', f'{block}: mean energy r E of each subNN for each class, left, and the coding '
                 'scheme, right', plot(means[block], outputs.codewords[block])) for block in outputs.blocks],
        [f'{len(outputs.targets)} samples. Classes without samples are empty, and count in no mean.'],
    )


def class_means(outputs: Outputs, block: str) -> np.ndarray:
    """Mean of r E_n by class, [K, N] float64; NaN for a class without samples."""
    words = outputs.codewords[block]
    ratio = words[0].sum() / words.shape[1]
    sums = torch.zeros(words.shape, dtype=torch.float64)
    sums.index_add_(0, torch.from_numpy(outputs.targets), torch.from_numpy(outputs.energies[block]).double())
    counts = np.bincount(outputs.targets, minlength=len(words))[:, None]
    return np.divide(ratio * sums.numpy(), counts, out=np.full(words.shape, np.nan), where=counts > 0)


def summary(outputs: Outputs, block: str, means: np.ndarray) -> Row:
    """Over classes with samples, each class and subNN once."""
    active = outputs.codewords[block].astype(bool)
    working, resting = means[active], means[~active]
    return {
        'block': block, 'active: mean': float(np.nanmean(working)), 'active: lowest': float(np.nanmin(working)),
        'inactive: mean': float(np.nanmean(resting)), 'inactive: highest': float(np.nanmax(resting)),
    }


def class_rows(outputs: Outputs, block: str, means: np.ndarray) -> list[Row]:
    values = np.where(np.isnan(means), np.array(None), means.round(4)).tolist()
    return [{'block': block, 'class': outputs.name_of(index), **{f'subNN {n}': value for n, value in enumerate(row)}}
            for index, row in enumerate(values)]


def plot(means: np.ndarray, codewords: np.ndarray) -> 'Figure':
    figure = new_figure(8, min(12, 2.5 + .12 * len(means)))
    energies, scheme = figure.subplots(1, 2, sharey=True)
    image = energies.imshow(means, aspect='auto', interpolation='nearest', vmin=0, vmax=max(1., np.nanmax(means)))
    scheme.imshow(codewords, aspect='auto', interpolation='nearest', vmin=0, vmax=image.get_clim()[1])
    energies.set(title='mean energy', xlabel='subNN', ylabel='class')
    scheme.set(title='coding scheme', xlabel='subNN')
    figure.colorbar(image, ax=[energies, scheme], label='r E')
    return figure
