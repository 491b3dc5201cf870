"""The forms of a model that are compared: NAME as it is, NAME:packed, NAME:paper; NAME:num_active=32,32,16,4."""
import ast
from typing import Any, Mapping, Sequence

import timm
from torch import nn

from timm_coded.models import coded_blocks, materialise_subnns, pack_grouped_convs, round_batch_norms

from ..train.build import check_model_name, describe_error
from ..train.errors import UserError

FORMS = {
    'packed': 'as train_xla.py runs any model on XLA: lane-packed grouped convolutions, rounded batch norms',
    'paper': "a coded model in the paper's form, all of the subNNs' outputs in memory",
}


def create_form(name: str, num_classes: int = 1000) -> nn.Module:
    """The model that `name` stands for, on the CPU, with random weights.

    Args:
        name: a model of timm's registry, alone or followed by ':packed' or ':paper', and by ':ARGUMENT=VALUE' for each
            argument of its constructor that is not to be the default. So the name says all, in every table.
        num_classes: number K of classes.

    Raises:
        UserError: there is no such model or form, or the model does not have the form or take the arguments.
    """
    model_name, form, arguments = split_name(name)
    check_model_name(model_name)
    if 'num_classes' in arguments:
        raise UserError(f'{name}: the number of classes is that of all models: give --num-classes')
    try:
        model = timm.create_model(model_name, num_classes=num_classes, **arguments)
        if form == 'packed':
            round_batch_norms(pack_grouped_convs(model))
        elif form == 'paper':
            materialise_subnns(model)
    except Exception as error:  # whatever a constructor stumbles over
        raise UserError(f'cannot make {name}: {describe_error(error)}') from error
    return model


def split_name(name: str) -> tuple[str, str, dict[str, Any]]:
    """Model, form ('' for none) and arguments of 'MODEL:FORM:ARGUMENT=VALUE'.

    Raises:
        UserError: there is no such form, or an argument has no name or is given twice.
    """
    model, *words = name.split(':')
    arguments = [word.partition('=')[0] for word in words if '=' in word]
    if '' in words or '' in arguments or len(set(arguments)) < len(arguments):
        raise UserError(f'{name}: expected MODEL, MODEL:FORM or MODEL:FORM:ARGUMENT=VALUE, each argument once')
    form = ':'.join(word for word in words if '=' not in word)
    if form and form not in FORMS:
        raise UserError(f'{name}: there is no form {form!r}; the forms of a model are {", ".join(FORMS)}, or none')
    pairs = (word.split('=', 1) for word in words if '=' in word)
    return model, form, {argument: value_of(text) for argument, text in pairs}


def value_of(text: str) -> Any:
    """As timm's ParseKwargs reads it: what is no literal of Python is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that it raises
        return text


def with_arguments(name: str, arguments: Mapping[str, Any]) -> str:
    """The name of the same form with these arguments too; those that it has stay.

    Raises:
        UserError: a value cannot stand in a name.
    """
    own = split_name(name)[2]
    for argument, value in arguments.items():
        if argument not in own:
            text = str(value).replace(' ', '')
            text = text[1:-1] if isinstance(value, tuple) else text
            if ':' in text or value_of(text) != value:
                raise UserError(f'{argument}={value!r} cannot stand in a name, which the tables need: take one that '
                                'reads the same from it, without spaces and colons')
            name += f':{argument}={text}'
    return name


def coded_with(names: Sequence[str], arguments: Mapping[str, Any]) -> list[str]:
    """The names of the same forms, the coded models with these arguments, the stock ones as they are.

    Raises:
        UserError: no model is coded, or there is no such model.
    """
    if not arguments:
        return list(names)
    coded = {model for model in {split_name(name)[0] for name in names} if is_coded(model)}
    if not coded:
        raise UserError(f'none of {", ".join(names)} is coded, which {", ".join(arguments)} is for: leave it out, or '
                        'name a coded model')
    return [with_arguments(name, arguments) if split_name(name)[0] in coded else name for name in names]


def is_coded(model_name: str) -> bool:
    """Whether the model is coded by default; a stock twin of ours, which could be made so, is not."""
    check_model_name(model_name)
    own = timm.get_pretrained_cfg_value(model_name, 'num_classes')
    return bool(coded_blocks(create_form(model_name, own or 1000)))  # the default scheme need not have more words
