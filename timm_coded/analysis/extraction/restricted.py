"""Accuracy of a network of k classes beside that of the full model restricted to these classes."""
from typing import Iterable, Sequence

import torch
from torch import Tensor

from timm_coded.models import CodedResNet

from ..findings import Table


@torch.no_grad()
def restricted_accuracy(
        model: CodedResNet,
        network: CodedResNet,
        classes: Sequence[int],
        batches: Iterable[tuple[Tensor, Tensor]],
) -> Table:
    """Top-1 on the images of these classes, in percent: extracted, full with these classes' logits only, and full.

    Args:
        model: The full model, in evaluation mode.
        network: `extract_classes(model, classes)`.
        classes: k class indices.
        batches: Images [B, 3, H, W] on the model's device and their classes [B], of the full model; images of other
            classes and fillers, -1, are left out.

    Raises:
        ValueError: there are less than two classes, or no images of them.
    """
    check_several(classes)
    chosen, samples, hits = torch.tensor(classes), 0, torch.zeros(3, dtype=torch.long)
    for images, targets in batches:
        own = torch.isin(targets, chosen)
        if own.any():
            images, targets = images[own.to(images.device)], targets[own]
            full = model(images).cpu()
            named = chosen[network(images).cpu().argmax(1)], chosen[full[:, chosen].argmax(1)], full.argmax(1)
            hits += torch.stack([(prediction == targets).sum() for prediction in named])
            samples += len(targets)
    if not samples:
        raise ValueError(f'there are no images of the {len(classes)} classes: give a data set that has them')
    names = 'extracted network', "full network, these classes' logits only", f'full network, all {model.num_classes}'
    rows = [{'what': name, 'accuracy': 100 * hit / samples, 'samples': samples}
            for name, hit in zip(names, hits.tolist())]
    return Table('accuracy', f'Accuracy in percent on the {samples} images of the {len(classes)} classes', rows)


def check_several(classes: Sequence[int]) -> None:
    """Raises ValueError: accuracy says nothing of one class."""
    if len(classes) < 2:
        raise ValueError('accuracy among one class is always 100 %: name two classes or more, or see what '
                         '`timm-coded classify` tells of one')
