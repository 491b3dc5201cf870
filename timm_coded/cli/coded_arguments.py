"""What commands that make models take: their forms, and coded ones of another ratio than their own."""
import argparse
from typing import Any, Sequence

from timm_coded.speed.forms import FORMS, coded_with
from timm_coded.train.errors import UserError
from timm_coded.train.flags import COUNT, ModelKwargs

MODEL_HELP = "any of timm's or of timm_coded's; " + '; '.join(f'MODEL:{form}, {what}' for form, what in FORMS.items())


def add_coded_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'coded models only', 'as for train_xla.py; stock models beside them stay as they are')
    group.add_argument('--num-active', type=COUNT, nargs='+', metavar='N_ACT',
                       help='active subNNs of a class, one number for each stage. In the tables the model is then '
                            'MODEL:num_active=32,32,16,4; that name in the place of MODEL sets it for one model alone; '
                            "default: the model's own")
    group.add_argument('--model-kwargs', nargs='+', default={}, action=ModelKwargs, metavar='NAME=VALUE',
                       help='other arguments of the model, such as scheme_source=paper, or num_active of each block')


def name_coded(models: Sequence[str], args: argparse.Namespace) -> list[str]:
    """The models' names with what the flags say in those of the coded ones.

    Raises:
        UserError: the flags contradict each other, or no model is coded.
    """
    return coded_with(models, coded_arguments(args))


def coded_arguments(args: argparse.Namespace) -> dict[str, Any]:
    if args.num_active is None:
        return dict(args.model_kwargs)
    if 'num_active' in args.model_kwargs:
        raise UserError('--num-active and --model-kwargs both give num_active: leave one of them out')
    return {'num_active': tuple(args.num_active), **args.model_kwargs}
