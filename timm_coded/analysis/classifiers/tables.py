"""Tables and notes of the binary classifiers."""
from typing import Sequence

import numpy as np

from ..findings import Row
from ..sampling import spread
from .binary import NEGATIVES_PER_POSITIVE, Quality
from .class_scores import Scores


def mean_row(method: str, kind: str, found: Quality, positives: np.ndarray) -> Row:
    """Mean over the C classes, and over the draws of negatives; spreads are over draws of the mean over classes.

    The paper's F1 for CIFAR-10 is that of the mean precision and the mean recall, so both are here.
    """
    draws = len(found.precision)
    precision, f1, recall = found.precision.mean(1), found.f1.mean(1), found.recall.mean()
    return {
        'method': method,
        'negatives': kind,
        'precision': precision.mean(),
        'recall': recall,
        'F1': f1.mean(),
        'F1 of the means': 2 * precision.mean() * recall / max(precision.mean() + recall, 1e-12),
        'precision std': spread(precision),
        'F1 std': spread(f1),
        'draws': draws,
        'classes': len(positives),
        'positives a class': positives.mean(),
        'negatives a class': found.negatives.mean(),
    }


def class_rows(
        classes: np.ndarray,
        names: Sequence[str],
        thresholds: dict[str, np.ndarray],
        found: dict[str, dict[str, Quality]],
        positives: np.ndarray,
) -> list[Row]:
    """One row for each class and method."""
    return [
        {
            'class': int(index),
            'name': name,
            'method': method,
            'threshold': float(thresholds[method][column]),  # float32's text is shorter than the number that it is
            'positives': positives[column],
            'recall': next(iter(kinds.values())).recall[column],
            **{f'precision, {kind}': one.precision[:, column].mean() for kind, one in kinds.items()},
            **{f'F1, {kind}': one.f1[:, column].mean() for kind, one in kinds.items()},
        }
        for column, (index, name) in enumerate(zip(classes, names)) for method, kinds in found.items()
    ]


def notes(train: Scores, validation: Scores, foreign: Scores | None, draws: int) -> list[str]:
    """What one has to know to read the tables right."""
    few = int((NEGATIVES_PER_POSITIVE * validation.positives > len(validation.targets) - validation.positives).sum())
    lines = [
        f'Thresholds: of the highest F1 on {len(train.targets)} training images. Precision, recall and F1 (in percent) '
        f'are of {len(validation.targets)} validation images.',
        f'"{NEGATIVES_PER_POSITIVE} per positive" draws as many negatives, {draws} times (the paper\'s footnote 4); '
        f'{few} of {len(validation.classes)} classes have fewer among the other classes, and take them all.',
        'Extracted: the class\'s logit of the network without the subNNs inactive for it. Full network: the same logit '
        'of the whole network.',
    ]
    if 'stock, extracted' in validation.by_method:
        lines.append('Stock: a ResNeXt trained without codes, its subNNs removed by the same codewords; images are '
                     'transformed as for the coded network.')
    if foreign is not None:
        lines.append(f'Foreign: {len(foreign.targets)} images of another data set as negatives. Positives and '
                     'thresholds are the same, so recall is the same by definition.')
    return lines
