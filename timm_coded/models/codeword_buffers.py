"""Codewords as buffers: they travel with the weights, and meet other codewords when a checkpoint is loaded."""
import logging
from typing import TYPE_CHECKING, Any, Dict

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .coded_resnet import CodedResNet

_logger = logging.getLogger(__name__)


def scheme_buffer_name(num_active: int, num_subnns: int) -> str:
    """Name of the buffer that holds the codewords of the blocks with num_active of num_subnns subNNs active."""
    return f'codewords_{num_active}of{num_subnns}'


def checkpoint_filter_fn(state_dict: Dict[str, Tensor], model: 'CodedResNet', prefix: str = '') -> Dict[str, Tensor]:
    """Reconcile the codewords of a state dict with the model's.

    A stock checkpoint has none: the model's own are filled in. Codewords that differ from the model's are taken over,
    since the weights were trained with them, and a warning says so. Those for another number of classes are left out,
    as timm leaves out the classifier, except for a model without classes, which takes them over.

    Args:
        state_dict: By parameter name, each behind `prefix`; not changed.
        model: The model that it will be loaded into.
        prefix: What stands before the model's own names.

    Returns:
        A state dict with codewords that the model loads.
    """
    state_dict = dict(state_dict)
    for num_active in model.scheme_sizes:
        name = scheme_buffer_name(num_active, model.num_subnns)
        own, given = getattr(model, name), state_dict.get(prefix + name)
        if given is None:
            state_dict[prefix + name] = own
        elif given.shape[1:] != own.shape[1:]:
            continue  # other subNNs: loading it is the error that it should be
        elif given.shape != own.shape:
            if model.num_classes == 0:
                setattr(model, name, torch.empty_like(given, device=own.device))
            else:
                _logger.warning(
                    f'{name} of the checkpoint is for {given.shape[0]} classes, the model has {own.shape[0]}: '
                    f'it keeps its own codewords.')
                state_dict[prefix + name] = own
        elif not (given.is_meta or own.is_meta) and not torch.equal(given.to(own), own):
            _logger.warning(
                f'{name} of the checkpoint differs from the model\'s coding scheme: the checkpoint\'s codewords are '
                f'taken over, as its weights were trained with them.')
    return state_dict


def adopt_codewords(model: 'CodedResNet', state_dict: Dict[str, Tensor], prefix: str, *args: Any) -> None:
    """`checkpoint_filter_fn` as a hook of `load_state_dict`, so that loading by any way goes through it."""
    state_dict.update(checkpoint_filter_fn(state_dict, model, prefix))
