"""What subNNs put out for classes that they work for and for the others, Appendix F.1 and Fig. 6 of the paper."""
import contextlib
from typing import TYPE_CHECKING, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timm_coded.models import CodedResNet

from ..findings import Findings, Picture, Row, Table, new_figure
from ..outputs import check_block_names, check_coded
from .histograms import BINS, SubnnHistograms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER_BLOCK = 'layer3.1'  # the second block of the third stage
PLOTTED = 5  # subNNs


def activations(
        model: CodedResNet,
        batches: Iterable[tuple[Tensor, Tensor]],
        blocks: Sequence[str] = (),
) -> Findings:
    """Distributions of |t_n| for active and inactive classes, by subNN.

    Args:
        model: coded, in evaluation mode.
        batches: images [B, 3, H, W] on the model's device and targets [B]; a target of -1 marks a filler, left out.
        blocks: names of coded blocks; by default the paper's, layer3.1, or where that is not coded the last.

    Raises:
        ValueError: the model has no coded blocks or not those named, there are no samples, or a value is not finite.
    """
    blocks = choose_blocks(model, blocks)
    found, samples = count_outputs(model, batches, blocks)
    if not samples:
        raise ValueError('there are no samples: give a data set with images')
    normalised = all(model.get_submodule(block).energy_norm for block in blocks)
    return Findings(
        'activations',
        'What subNNs put out for active and inactive classes (Appendix F.1)',
        [
            Table('activations', '|t_n| of each subNN',
                  [row for block in blocks for row in summary(block, found[block])]),
            Table('activations-histogram', 'How many values of |t_n| are in each bin',
                  [row for block in blocks for row in histogram(block, found[block])]),
        ],
        [Picture(f'activations-{block}', f'Distribution of |t_n| in {block}, first subNNs: for active classes (blue) '
                 'and inactive ones (red), density in log scale (Fig. 6)', plot(found[block])) for block in blocks],
        [
            f'{samples} samples; every pixel and channel of a subNN\'s output is a value.',
            't_n is the output after the energy normalisation, t_n / sqrt(E_avg), Eq. (3): what the block sums up.'
            if normalised else 't_n is the output as it is: the model was trained without energy normalisation.',
            'A class is active for a subNN that its codeword has work for it, else inactive.',
            f'99 % of the values lie below the 99th percentile, told to a bin\'s width ({BINS} bins).',
        ],
    )


def choose_blocks(model: CodedResNet, blocks: Sequence[str]) -> list[str]:
    """Raises ValueError: the model has no coded blocks, or not those named."""
    check_coded(model)
    check_block_names(blocks, model.coded_blocks)
    if blocks:
        return list(dict.fromkeys(blocks))
    return [PAPER_BLOCK if PAPER_BLOCK in model.coded_blocks else model.coded_blocks[-1]]


@torch.no_grad()
def count_outputs(
        model: CodedResNet,
        batches: Iterable[tuple[Tensor, Tensor]],
        blocks: Sequence[str],
) -> tuple[dict[str, SubnnHistograms], int]:
    """The blocks' histograms, and the number of samples."""
    found = {block: SubnnHistograms(model.codewords(block).shape[1]) for block in blocks}
    samples = 0
    for images, target in batches:
        if int(target.max()) >= model.num_classes:
            raise ValueError(f'there is a target {int(target.max())}, the model has {model.num_classes} classes')
        valid = target >= 0
        if not valid.any():
            continue
        samples += int(valid.sum())
        with counted(model, found, target[valid], valid):
            model(images)
    return found, samples


@contextlib.contextmanager
def counted(model: CodedResNet, found: dict[str, SubnnHistograms], classes: Tensor, valid: Tensor) -> Iterator[None]:
    """While it is open, the next batch to go through the model is counted, subNN by subNN.

    The input of conv3 is the scaled z: the slice of subNN n, by its slice of conv3, gives t_n / sqrt(E_avg) alone.

    Args:
        classes: of the samples where valid [B] is not False, which marks fillers.
    """
    handles = []
    for block, histograms in found.items():
        active = model.codewords(block).cpu()[classes].long()

        def count(
                conv3: nn.Conv2d,
                inputs: tuple[Tensor],
                histograms: SubnnHistograms = histograms,
                active: Tensor = active,
        ) -> None:
            z, weight = inputs[0], conv3.weight
            if z.device.type == 'xla':  # would compile graphs for all that follows
                z, weight = z.cpu(), weight.cpu()
            slices = zip(z[valid.to(z.device)].chunk(active.shape[1], 1), weight.chunk(active.shape[1], 1))
            for subnn, (z, weight) in enumerate(slices):
                histograms.add(subnn, F.conv2d(z, weight), active[:, subnn])

        handles.append(model.get_submodule(f'{block}.conv3').register_forward_pre_hook(count))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def summary(block: str, found: SubnnHistograms) -> list[Row]:
    columns = {'mean': found.mean(), 'mean square': found.mean_square(), '99th percentile': found.quantile(.99)}
    rows = []
    for subnn in range(found.counts.shape[1]):
        row = {'block': block, 'subNN': subnn}
        for name, values in columns.items():
            for status in (1, 0):
                value = float(values[status, subnn])
                row[f'{name}, {("inactive", "active")[status]}'] = None if value != value else value
        rows.append(row)
    return rows


def histogram(block: str, found: SubnnHistograms) -> list[Row]:
    edges = found.edges.tolist()
    inactive, active = found.counts.tolist()
    return [
        {'block': block, 'subNN': subnn, 'from': edges[index], 'to': edges[index + 1], 'active': active[subnn][index],
         'inactive': inactive[subnn][index]}
        for subnn in range(len(active)) for index in range(BINS)]


def plot(found: SubnnHistograms) -> 'Figure':
    subnns = min(PLOTTED, found.counts.shape[1])
    figure = new_figure(2.6 * subnns, 2.8)
    panels = figure.subplots(1, subnns, squeeze=False, sharex=True, sharey=True)[0]
    density = found.density().numpy()
    used = int(found.counts.sum((0, 1)).nonzero().max()) + 1
    for subnn, panel in enumerate(panels):
        for status, name, color in ((0, 'inactive', 'tab:red'), (1, 'active', 'tab:blue')):
            panel.stairs(density[status, subnn, :used], found.edges[:used + 1].numpy(), label=name, color=color,
                         fill=True, alpha=.5)
        panel.set(title=f'subNN {subnn}', xlabel='$|t_n|$', yscale='log')
    panels[0].set_ylabel('density')
    panels[0].legend()
    return figure
