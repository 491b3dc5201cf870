"""Samples that a coded model should not trust, told from those it may: scores of `suspicion` against baselines."""
from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

from ..accuracy import check_targets, percent
from ..findings import Findings, Picture, Row, Table, new_figure
from ..outputs import Outputs
from .suspicion import SCORES, suspicion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACCEPTED = .95  # share of the samples to be trusted that the threshold of FPR95 accepts
WRONG = 'wrong predictions'
Scores = dict[str, np.ndarray]  # score -> [S]


def detect(outputs: Outputs, against: Mapping[str, Outputs]) -> Findings:
    """How well each score tells samples that are to be rejected from the model's own, in percent.

    Args:
        outputs: of images of the model's own classes: the samples "in".
        against: by name, outputs of the same model for images that are to be rejected, "out": of foreign classes, or
            attacked. Where they have the same targets in the same order, they are the same images, attacked: those
            whose prediction changed count once more on their own. In any case the model's own wrong predictions are
            told from its right ones.

    Raises:
        ValueError: `outputs` are of foreign images, outputs are of different models, or there is nothing to tell apart.
    """
    check_targets(outputs)
    if 'attack' in outputs.about:
        raise ValueError(f'the samples to be trusted are of attacked images ({outputs.about["attack"]}): give those of '
                         'the images as they are, and these to tell from them')
    for name, others in against.items():
        if others.fingerprint != outputs.fingerprint:
            raise ValueError(f'{name} has outputs of another model ({others.fingerprint}, not {outputs.fingerprint}): '
                             'evaluate one checkpoint for all')
        pairs = [(outputs.logits, others.logits), *((outputs.energies[block], others.energies[block])
                                                    for block in outputs.blocks)]
        if all(np.array_equal(own, other) for own, other in pairs):
            raise ValueError(f'{name} has the very outputs that it is to be told from: give those of other images')
    wrong = outputs.predictions != outputs.targets
    if not against and (wrong.all() or not wrong.any()):
        raise ValueError(f'all predictions are {"wrong" if wrong.any() else "right"}, so that there is nothing to tell '
                         'apart: give outputs of other images, to be rejected')
    own, own_blocks = suspicion(outputs)
    cases = {WRONG: (pick(own, ~wrong), pick(own, wrong), pick(own_blocks, ~wrong), pick(own_blocks, wrong))}
    sources = [source(outputs, 'in', None)]
    for name, others in against.items():
        scores, blocks = suspicion(others)
        changed = None
        if np.array_equal(outputs.targets, others.targets):
            changed = outputs.predictions != others.predictions
        sources.append(source(others, name, changed))
        cases[name] = own, scores, own_blocks, blocks
        if changed is not None:
            cases[f'{name}, changed'] = own, pick(scores, changed), own_blocks, pick(blocks, changed)
    rows = [{'against': name, **row} for name, case in cases.items() for row in metrics(*case[:2])]
    block_rows = [{'against': name, **row} for name, case in cases.items() for row in metrics(*case[2:], 'block')]
    told = {name: case[:2] for name, case in cases.items() if all(len(scores['max-softmax']) for scores in case[:2])}
    return Findings(
        'detect',
        'Samples that should not be trusted: how well they are told from the others',
        [
            Table('detect', 'Metrics of each score, in percent', rows),
            Table('detect-blocks', 'The same for the code distance in each coded block', block_rows),
            Table('detect-samples', 'The samples, and how accurate the network is on them, in percent', sources),
        ],
        [Picture('detect', 'ROC of each score: samples rejected that should be, by samples rejected that should not',
                 plot_roc(told))] if told else [],
        notes(outputs, against),
    )


def metrics(accepted: Scores, rejected: Scores, column: str = 'score') -> list[Row]:
    """AUROC, AUPR and FPR95 of each score, in percent; None where there are no samples on one side."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
    rows = []
    for name, low in accepted.items():
        high = rejected[name]
        is_out = np.repeat([False, True], [len(low), len(high)])
        values = np.concatenate([low, high])
        row: Row = {column: name, 'AUROC': None, 'AUPR': None, 'FPR95': None, 'n in': len(low), 'n out': len(high)}
        if len(low) and len(high):
            passed_out, passed_in, _ = roc_curve(~is_out, -values, drop_intermediate=False)
            row['AUROC'] = 100 * float(roc_auc_score(is_out, values))
            row['AUPR'] = 100 * float(average_precision_score(is_out, values))
            row['FPR95'] = 100 * float(passed_out[np.argmax(passed_in >= ACCEPTED)])
        rows.append(row)
    return rows


def pick(scores: Scores, mask: np.ndarray) -> Scores:
    return {name: values[mask] for name, values in scores.items()}


def source(outputs: Outputs, name: str, changed: np.ndarray | None) -> dict[str, Any]:
    known = (outputs.targets >= 0).all()
    return {
        'samples': name,
        'images': str(outputs.about.get('images', '')),
        'attack': str(outputs.about.get('attack', '')),
        'n': len(outputs.targets),
        'accuracy': percent(outputs.predictions == outputs.targets) if known else None,
        'predictions changed': None if changed is None else percent(changed),
    }


def notes(outputs: Outputs, against: Mapping[str, Outputs]) -> list[str]:
    found = [f'{name}: {text}.' for name, text in SCORES.items()]
    found += [
        'AUROC: chance that a sample to be rejected ("out") has a higher score than one to be accepted ("in"); 50 is a '
        'guess. AUPR: average precision with "out" as the positive class; a guess gives the share of "out" among all. '
        'FPR95: share of "out" that is accepted by the threshold that accepts 95 % of "in". A guess gives 95.',
        f'{WRONG}: of the {len(outputs.targets)} samples "in" themselves, the wrongly predicted ones are "out".',
    ]
    if any('attack' in others.about for others in against.values()):
        found.append('The attacks go against the prediction alone: they do not know the detector, and one that does '
                     'may well pass it. "changed": of the attacked images only those whose prediction the attack '
                     'changed.')
    return found


def plot_roc(cases: Mapping[str, tuple[Scores, Scores]]) -> 'Figure':
    from sklearn.metrics import roc_curve
    columns = min(3, len(cases))
    lines = -(-len(cases) // columns)
    figure = new_figure(4 * columns, 3.6 * lines + .6)
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for panel in list(panels)[len(cases):]:
        panel.remove()
    for panel, (name, (low, high)) in zip(figure.axes, cases.items()):
        for score in low:
            is_out = np.repeat([False, True], [len(low[score]), len(high[score])])
            false, true, _ = roc_curve(is_out, np.concatenate([low[score], high[score]]))
            panel.plot(100 * false, 100 * true, label=score)
        panel.set(title=name, xlabel='"in" rejected [%]', ylabel='"out" rejected [%]')
    figure.legend(*panel.get_legend_handles_labels(), loc='outside lower center', ncols=3)
    return figure
