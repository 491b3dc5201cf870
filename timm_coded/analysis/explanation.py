"""Why a coded model names a class for an image: what its paths put out, against the codewords."""
from typing import TYPE_CHECKING, Sequence

import numpy as np
import torch
from torch import Tensor

from timm_coded.models import CodedResNet, early_decode

from .calibration.calibrator import Calibrator
from .findings import Findings, Picture, Row, Table, new_figure
from .outputs import check_coded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = 5  # classes
COLUMNS = 3  # of panels


@torch.no_grad()
def explain(
        model: CodedResNet,
        image: Tensor,
        pixels: np.ndarray,
        name: str,
        class_names: Sequence[str] = (),
        calibrator: Calibrator | None = None,
) -> Findings:
    """The prediction for one image, that of each early decoder, and the energies that tell it from the runner-up.

    Args:
        model: coded, in evaluation mode.
        image: [1, 3, H, W], normalised, on the model's device.
        pixels: what it shows, [H, W, 3] from 0 to 1.
        name: of the image, part of the files' names.
        class_names: K names, or none.
        calibrator: of the model, for calibrated probabilities beside those of the softmax.

    Raises:
        ValueError: the model has no coded blocks or less than two classes, there are not as many names as classes, or
            the calibrator is of another model.
    """
    check_coded(model)
    if model.num_classes < 2:
        raise ValueError(f'the model has {model.num_classes} class: there is no runner-up to tell it from')
    names = list(class_names) or [str(index) for index in range(model.num_classes)]
    if len(names) != model.num_classes:
        raise ValueError(f'{len(names)} names of classes for a model of {model.num_classes}: give one for each')
    logits, energies = model.forward_energies(image)
    blocks = {block: energy[0].float().cpu() for block, energy in zip(model.coded_blocks, energies)}
    words = {block: model.codewords(block).float().cpu() for block in blocks}
    decoded = {block: int(early_decode(energy[None], words[block])) for block, energy in blocks.items()}
    probabilities = logits[0].float().cpu().softmax(0)
    order = logits[0].float().cpu().topk(min(TOP, len(names))).indices  # of probabilities, many may be 0
    calibrated = None if calibrator is None else calibrator.predict(model, image)[0]
    first, second = order[:2].tolist()
    scaled = {block: (words[block][0].mean() * energy).numpy() for block, energy in blocks.items()}  # r E
    pairs = {block: words[block][[first, second]].numpy().astype(int) for block in blocks}
    agreeing = sum(index == first for index in decoded.values())
    title = (f'Image {name}: {names[first]}, probability {float(probabilities[first]):.3f}, named by {agreeing} of '
             f'{len(blocks)} early decoders; runner-up {names[second]}')
    return Findings(
        f'explain-{name}',
        title,
        [
            Table(f'explain-{name}', 'Most probable classes, in percent', [
                {'class': index, 'name': names[index], 'probability': 100 * value,
                 **({} if calibrated is None else {'calibrated': 100 * float(calibrated[index])})}
                for index, value in zip(order.tolist(), probabilities[order].tolist())]),
            Table(f'explain-{name}-decoders', 'Early decoders, and mean r E of the subNNs that work for one of the two '
                  'classes only', [
                      {'block': block, 'class': decoded[block], 'name': names[decoded[block]],
                       **block_row(scaled[block], *pairs[block])} for block in blocks]),
            Table(f'explain-{name}-energies', 'Energies r E of the subNNs against the codewords of the two classes',
                  [row for block in blocks for row in energy_rows(block, scaled[block], *pairs[block])]),
        ],
        [Picture(f'explain-{name}', f'{title}. Bars: energies r E by coded block, those of its codeword in blue, those '
                 "of the runner-up's alone hatched", plot(pixels, scaled, pairs, names[first], names[second]))],
        ["r E_n is the normalised energy of subNN n times N_act/N: Eq. (5) wants 1 of a class's active subNNs and 0 of "
         'the others. Distance: ||r E - w_k||.',
         f'Prediction: {names[first]}. Runner-up: {names[second]}. They are told apart by the subNNs that work for one '
         'of them only.'],
    )


def block_row(energies: np.ndarray, first: np.ndarray, second: np.ndarray) -> Row:
    """Columns of a block: energies r E [N] against the codewords [N] of prediction and runner-up."""
    own, other = energies[first > second], energies[second > first]
    return {
        'distance, prediction': float(np.linalg.norm(energies - first)),
        'distance, runner-up': float(np.linalg.norm(energies - second)),
        'r E, only prediction': float(own.mean()) if own.size else None,
        'r E, only runner-up': float(other.mean()) if other.size else None,
    }


def energy_rows(block: str, energies: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[Row]:
    return [
        {'block': block, 'subNN': subnn, 'r E': float(energies[subnn]), 'prediction': int(first[subnn]),
         'runner-up': int(second[subnn]), 'tells apart': int(first[subnn] != second[subnn])}
        for subnn in range(len(energies))]


def plot(
        pixels: np.ndarray,
        energies: dict[str, np.ndarray],
        pairs: dict[str, np.ndarray],
        first: str,
        second: str,
) -> 'Figure':
    from matplotlib.patches import Patch
    lines = -(-len(energies) // COLUMNS)
    figure = new_figure(3 * (COLUMNS + 1), max(3, 2 * lines) + .5)
    grid = figure.add_gridspec(lines, COLUMNS + 1)
    picture = figure.add_subplot(grid[:, 0])
    picture.imshow(pixels, interpolation='nearest')
    picture.set(title=f'named {first}', xticks=[], yticks=[])
    highest = max(1.2, 1.05 * float(np.max(list(energies.values()))))
    for index, (block, values) in enumerate(energies.items()):
        panel = figure.add_subplot(grid[index // COLUMNS, 1 + index % COLUMNS])
        own, other = pairs[block]
        bars = panel.bar(range(len(values)), values, color=['tab:blue' if bit else 'tab:red' for bit in own])
        for bar, bit, runner_up in zip(bars, own, other):
            if runner_up > bit:
                bar.set(hatch='////', edgecolor='black')
        panel.axhline(1, color='black', linestyle='--', linewidth=.8)
        panel.set(title=block, ylim=(0, highest))
        panel.locator_params(axis='x', integer=True)
        if index % COLUMNS == 0:
            panel.set_ylabel('r E')
        if index + COLUMNS >= len(energies):
            panel.set_xlabel('subNN')
    figure.legend(handles=[
        Patch(color='tab:blue', label=f'active for {first}'), Patch(color='tab:red', label=f'inactive for {first}'),
        Patch(facecolor='tab:red', edgecolor='black', hatch='////', label=f'active for the runner-up {second} instead'),
    ], loc='outside lower center', ncols=3)
    return figure
