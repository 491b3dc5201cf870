"""The binary classifier of each class: thresholds, precision, recall and F1, Section 4.3 of the paper."""
from typing import Iterable, Sequence

import numpy as np
from timm.models.resnet import ResNet
from torch import Tensor

from timm_coded.models import CodedResNet

from ..extraction.extract import check_classes
from ..findings import Findings, Picture, Table
from ..outputs import check_coded, fingerprint
from ..sampling import check_count, check_target_range
from ..staged import Staged
from ..thresholds import Thresholds
from .binary import NEGATIVES_PER_POSITIVE, Quality, count, f1_thresholds, quality, with_foreign
from .class_scores import Scores, collect_scores
from .class_subset import ClassSubset
from .plots import plot_distributions, plot_quality
from .stock_subnns import StockNetwork
from .tables import class_rows, mean_row, notes

Batches = Iterable[tuple[Tensor, Tensor]]
DISTRIBUTIONS = 10  # classes whose outputs are shown, as in Fig. 7


def classify(
        model: CodedResNet,
        train: Batches,
        validation: Batches,
        classes: Sequence[int] | None = None,
        class_names: Sequence[str] = (),
        foreign: Batches | None = None,
        stock: ResNet | None = None,
        train_limit: int | None = None,
        draws: int = 10,
        seed: int = 0,
) -> tuple[Findings, Thresholds]:
    """Binary classifiers of a coded network, and what they are worth.

    The classifier of class k is the network without the subNNs that are inactive for k, removed before the energy
    normalisation, and its output is logit k. Beside it stand the same logit of the whole network, and, with `stock`,
    both of a stock ResNeXt, whose subNNs are removed by the same codewords.

    Args:
        model: In evaluation mode.
        train: images [B, 3, H, W] on the model's device, without augmentation, and targets [B], -1 for fillers; for
            the thresholds.
        validation: The same, for precision, recall and F1.
        classes: Class indices; all by default.
        foreign: Images of none of the classes; their targets count only as fillers or not.
        stock: A stock network of the same architecture, on the same device.
        train_limit: Images of each class to find the thresholds on, drawn at random; all by default.
        draws: How often 9 negatives for each positive are drawn.

    Raises:
        ValueError: the model is not coded, a class is out of range or has no images, or `stock` does not fit.
    """
    check_coded(model)
    classes = sorted(check_classes(model, range(model.num_classes) if classes is None else classes))
    check_count('draws', draws)
    networks: dict[str, Staged] = {'': model}
    if stock is not None:
        networks['stock, '] = StockNetwork(model=stock, coded=model)
    if train_limit is not None:
        check_count('train_limit', train_limit)
        train = ClassSubset(train, train_limit, seed)
    words = {block: model.codewords(block) for block in model.coded_blocks}

    seen = collect_scores(networks, words, classes, validation)
    check_positives(seen, model.num_classes, 'validation')
    outside = None if foreign is None else collect_scores(networks, words, classes, foreign)
    learnt = collect_scores(networks, words, classes, train)
    check_positives(learnt, model.num_classes, 'training')
    findings, thresholds = judge(learnt, seen, outside, class_names, draws, seed)
    if train_limit is not None:
        findings.notes.append(f'Training images were limited to {train_limit} of each class, drawn at random.')
    return findings, Thresholds(fingerprint(model), thresholds, list(class_names))


def judge(
        train: Scores,
        validation: Scores,
        foreign: Scores | None = None,
        class_names: Sequence[str] = (),
        draws: int = 10,
        seed: int = 0,
) -> tuple[Findings, dict[int, float]]:
    """What `classify` finds, from scores; and the thresholds of the extracted classifiers by class index."""
    classes = train.classes
    names = [class_names[index] if class_names else str(index) for index in classes]
    thresholds = {method: f1_thresholds(scores, train.targets, classes) for method, scores in train.by_method.items()}
    found = {method: qualities(method, thresholds[method], validation, foreign, draws, seed) for method in thresholds}
    negatives = 'those of other classes' + (' and foreign ones' if foreign else '')
    findings = Findings(
        'classify',
        'Binary classifiers of the classes (Section 4.3)',
        [
            Table('classifiers', 'Mean over the classes, in percent', [
                mean_row(method, kind, one, validation.positives)
                for method, kinds in found.items() for kind, one in kinds.items()]),
            Table('classes', 'Each class, in percent; the mean over the draws', class_rows(
                classes, names, thresholds, found, validation.positives)),
        ],
        [
            Picture('precision-recall', 'Precision and recall of the binary classifier of each class, with 9 negatives '
                    f'for each positive: {negatives} (Fig. 2b, 2c, 8)', plot_quality(found)),
            Picture('distributions', f'Outputs of the binary classifiers of {min(DISTRIBUTIONS, len(classes))} classes '
                    f'for samples of the class, {negatives}, with the threshold (Fig. 3, 7)',
                    plot_distributions(names[:DISTRIBUTIONS], validation, foreign, thresholds['extracted'])),
        ],
        notes(train, validation, foreign, draws))
    return findings, dict(zip(map(int, classes), map(float, thresholds['extracted'])))


def qualities(
        method: str,
        thresholds: np.ndarray,
        validation: Scores,
        foreign: Scores | None,
        draws: int,
        seed: int,
) -> dict[str, Quality]:
    """By the kind of negatives."""
    counts = {'other classes': count(
        validation.by_method[method], validation.targets, validation.classes, thresholds)}
    if foreign is not None:
        counts['foreign'] = with_foreign(counts['other classes'], foreign.by_method[method], thresholds)
    found = {}
    for kind, one in counts.items():
        found[f'{kind}, all'] = quality(one)
        found[f'{kind}, {NEGATIVES_PER_POSITIVE} per positive'] = quality(one, draws, seed)
    return found


def check_positives(scores: Scores, num_classes: int, what: str) -> None:
    """Raises ValueError: a class has no samples, or a sample is of none of the model's classes."""
    check_target_range(scores.targets, num_classes)
    missing = scores.classes[scores.positives == 0]
    if len(missing):
        raise ValueError(f'there is no {what} image of class {missing[0]} ({len(missing)} classes have none): name '
                         'the classes that have')
