"""The sub-network of one class or several as a network of its own, Section 4.3 of the paper."""
import copy
import operator
from typing import Iterable

import torch
from timm.utils import unwrap_model

from timm_coded.models import CodedResNet, cut_subnns, keep_classes, unpack_grouped_convs

from ..outputs import check_coded


def extract_classes(model: CodedResNet, classes: Iterable[int]) -> CodedResNet:
    """Cut the network of some classes out of a coded model, which stays as it is.

    In every coded block only the subNNs that are active for at least one of the classes are left, and of the classifier
    only the rows of these classes: `logits[:, i]` is of `classes[i]`. It computes what the
    full model does with all other subNNs removed, `forward_energies(x, keep=...)`, but with layers of fewer channels.
    Stem, shortcut projections and blocks of ratio 1 are whole.

    Args:
        model: A coded model, in any mode, on any device, packed or not; one that was extracted itself too. A wrapper
            such as `WithEnergies` is looked through.
        classes: Class indices, each once, in the order of the new logits.

    Returns:
        A CodedResNet in the mode and on the device of `model`, not packed. `kept_subnns` tells which subNNs it has;
        its `codewords` and energies are those of these subNNs.

    Raises:
        ValueError: the model has no coded blocks or no classifier, or a layer that cannot be cut; or classes is empty,
            names one twice, or one that is no class of the model.
    """
    model = unwrap_model(model)
    classes = check_classes(model, classes)
    kept = kept_subnns(model, classes)
    network = copy.deepcopy(model)
    unpack_grouped_convs(network)
    return keep_classes(cut_subnns(network, kept), classes)


def check_classes(model: CodedResNet, classes: Iterable[int]) -> list[int]:
    """The classes as ints. Raises ValueError as `extract_classes`."""
    check_coded(model)
    if model.num_classes < 1:
        raise ValueError('the model has no classifier, so there are no classes to extract')
    try:
        given = list(classes)
        checked = [operator.index(value) for value in given]
    except TypeError as error:
        raise ValueError(f'classes is {classes!r}, expected class indices, e.g. [3, 7]') from error
    if not checked:
        raise ValueError('classes is empty: name one class at least')
    if any(isinstance(value, bool) or getattr(value, 'dtype', None) == torch.bool for value in given):
        raise ValueError(f'classes is {classes!r}, expected class indices, not a mask')
    wrong = [value for value in checked if not 0 <= value < model.num_classes]
    if wrong:
        raise ValueError(f'there is no class {wrong[0]}: the model has {model.num_classes} classes, 0 to '
                         f'{model.num_classes - 1}')
    twice = sorted({value for value in checked if checked.count(value) > 1}) if len(set(checked)) < len(checked) else []
    if twice:
        raise ValueError(f'class {twice[0]} is named more than once: name each class once')
    return checked


def kept_subnns(model: CodedResNet, classes: list[int]) -> dict[int, list[int]]:
    """By num_active, the subNNs that are active for at least one of the classes, in order."""
    return {
        block.num_active: model.codewords(name)[classes].bool().any(0).nonzero().flatten().tolist()
        for name, block in model.named_blocks() if name in model.coded_blocks
    }
