"""A name says all of the model that it stands for: its form, and the arguments that are not its own."""
import pytest
import timm
from timm.utils import ParseKwargs

from timm_coded.cli.main import Parser
from timm_coded.models import PackedConv2d
from timm_coded.speed.forms import coded_with, create_form, with_arguments
from timm_coded.train.errors import UserError

CODED, STOCK = 'coded_resnext11_10x11d', 'resnext11_10x11d'


def ratios(model):
    return [block.num_active for _, block in model.named_blocks()]


@pytest.mark.parametrize('words, value', [
    ('num_active=10,7,2', (10, 7, 2)), ('num_active=(10,(7,),2)', (10, (7,), 2)), ('scheme_source=paper', 'paper'),
    ('drop_subnn=0.25', 0.25), ('num_active=[10,7,2]', [10, 7, 2]), ('channels=(16,)', (16,)),
    ('energy_norm=False', False),
])
def test_arguments_in_a_name_are_those_of_timms_flag(words, value):
    parser = Parser()
    parser.add_argument('--model-kwargs', nargs='*', action=ParseKwargs)
    found = parser.parse_args(['--model-kwargs', words]).model_kwargs
    assert found == {words.partition('=')[0]: value}
    name = with_arguments(CODED, found)
    assert with_arguments(name, found) == name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, 'create_model', lambda name, num_classes, **kwargs: (name, kwargs))
        assert create_form(name) == (CODED, found)


def test_ratio_in_a_name_is_the_models():
    model = create_form(f'{CODED}:packed:num_active=10,7,2', 10)
    assert ratios(model) == [10, 7, 2] != ratios(create_form(CODED, 10))
    assert any(isinstance(module, PackedConv2d) for module in model.modules())


def test_coded_models_get_the_arguments_and_stock_ones_stay():
    names = [f'{STOCK}:packed', CODED, 'resnet18', f'{CODED}:paper', f'{CODED}:num_active=10,3,3']
    assert coded_with(names, {'num_active': (10, 7, 2)}) == [
        f'{STOCK}:packed', f'{CODED}:num_active=10,7,2', 'resnet18', f'{CODED}:paper:num_active=10,7,2',
        f'{CODED}:num_active=10,3,3']
    assert coded_with(names, {}) == names


def test_model_whose_own_ratio_has_too_few_words_is_coded_all_the_same():
    name, = coded_with([CODED], {'num_active': (10, 5, 4)})
    assert ratios(create_form(name, 200)) == [10, 5, 4]  # C(10, 3) = 120 words


@pytest.mark.parametrize('name, said', [
    ('resnet18:', 'expected MODEL, MODEL:FORM or MODEL:FORM:ARGUMENT=VALUE'),
    (f'{CODED}:=5', 'each argument once'),
    (f'{CODED}:drop_subnn=0.1:drop_subnn=0.2', 'each argument once'),
    (f'{CODED}:num_active={{[]}}', 'cannot make'),
    (f'{CODED}:num_classes=10', 'give --num-classes'),
])
def test_names_that_say_nothing_or_two_things_are_told(name, said):
    with pytest.raises(UserError, match=said):
        create_form(name)


@pytest.mark.parametrize('names, arguments, said', [
    ([STOCK, 'resnet18'], {'num_active': (10, 7, 2)}, 'none of resnext11_10x11d, resnet18 is coded, which num_active'),
    (['no_such_model'], {'num_active': (10, 7, 2)}, 'there is no --model no_such_model'),
    ([CODED], {'scheme_source': 'a b.txt'}, "scheme_source='a b.txt' cannot stand in a name"),
    ([CODED], {'scheme_source': 'a:packed'}, "scheme_source='a:packed' cannot stand in a name"),
])
def test_what_cannot_be_is_told(names, arguments, said):
    with pytest.raises(UserError, match=said):
        coded_with(names, arguments)


@pytest.mark.parametrize('name, said', [
    (f'{CODED}:num_active=10,7', 'expected one entry for each of the 3 stages'),
    (f'{CODED}:num_active=10,7,11', 'expected whole numbers from 1 to 10'),
    (f'{CODED}:nothing=1', "unexpected keyword argument 'nothing'"),
    (f'{CODED}:packed:paper', "there is no form 'packed:paper'"),
])
def test_name_of_no_model_is_told(name, said):
    with pytest.raises(UserError, match=said):
        create_form(name, 10)
