"""The forms of a model that are compared: NAME as it is, NAME:packed, NAME:paper."""
from typing import Any

import timm
from torch import nn

from timm_coded.models import materialise_subnns, pack_grouped_convs, round_batch_norms

from ..train.build import check_model_name, describe_error
from ..train.errors import UserError

FORMS = {
    'packed': 'as train_xla.py runs any model on XLA: lane-packed grouped convolutions, rounded batch norms',
    'paper': "a coded model in the paper's form, all of the subNNs' outputs in memory",
}


def create_form(name: str, num_classes: int = 1000, **kwargs: Any) -> nn.Module:
    """The model that `name` stands for, on the CPU, with random weights.

    Args:
        name: a model of timm's registry, alone or followed by ':packed' or ':paper'.
        num_classes: number K of classes.
        **kwargs: for the model's constructor.

    Raises:
        UserError: there is no such model or form, or the model does not have the form.
    """
    model_name, _, form = name.partition(':')
    if form and form not in FORMS:
        raise UserError(f'{name}: there is no form {form!r}; the forms of a model are {", ".join(FORMS)}, or none')
    check_model_name(model_name)
    try:
        model = timm.create_model(model_name, num_classes=num_classes, **kwargs)
        if form == 'packed':
            round_batch_norms(pack_grouped_convs(model))
        elif form == 'paper':
            materialise_subnns(model)
    except Exception as error:  # whatever a constructor stumbles over
        raise UserError(f'cannot make {name}: {describe_error(error)}') from error
    return model
