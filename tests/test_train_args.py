from pathlib import Path

import pytest
import yaml

from timm_coded.train.args import parse_args, write_args

CONFIGS = Path(__file__).parents[1] / 'configs'


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / 'config.yaml'
        path.write_text(text)
        return str(path)
    return write


def error_of(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        parse_args(argv)
    assert exit_info.value.code == 2
    message = capsys.readouterr().err
    assert message.count('\n') == 1, 'one line, no usage'
    return message


def test_command_line_wins_over_config_and_config_over_default(config):
    path = config('lr: 0.3\nepochs: 7\namp: true\nscale: [0.5, 1]\ndata_dir: /images\nmodel_kwargs: {drop_rate: 0.2}')
    args = parse_args(['--config', path, '--epochs', '9', '--no-amp'])
    assert (args.lr, args.epochs, args.amp, args.scale, args.data_dir) == (0.3, 9, False, [0.5, 1.0], '/images')
    assert args.model_kwargs == {'drop_rate': 0.2}
    assert args.momentum == 0.9
    assert parse_args(['/other', '--config', path]).data_dir == '/other'


def test_list_at_the_end_of_a_config_does_not_swallow_the_data_folder(config):
    args = parse_args(['/images', '-c', config('decay_milestones: [3, 6]')])
    assert args.data_dir == '/images' and args.decay_milestones == [3, 6]


def test_yaml_exponent_without_a_point_is_a_number(config):
    assert parse_args(['-c', config('weight_decay: 1e-4')]).weight_decay == 1e-4  # YAML 1.1 reads a string


def test_null_in_config_leaves_the_default(config):
    assert parse_args(['-c', config('epochs: null\ncrop_pct:')]).epochs == 300


@pytest.mark.parametrize('argv, expected', [
    (['--weight-decy', '0'], ['--weight-decy', '--weight-decay']),
    (['--jsd-loss'], ['unknown flag --jsd-loss']),  # of timm's, but not honoured
    (['--mixup', '-1'], ['--mixup', 'at least 0']),
    (['--batch-size', '0'], ['--batch-size', 'at least 1']),
    (['--lr', 'fast'], ['--lr', "'fast'"]),
    (['--reprob', '1.5'], ['--reprob', 'between 0 and 1']),
    (['--amp-dtype', 'float16'], ['--amp-dtype', 'bfloat16']),
    (['a', 'b'], ["'b'", "'a'"]),
    (['--config', '/no/such.yaml'], ['/no/such.yaml']),
])
def test_bad_flag_is_named_in_one_line(capsys, argv, expected):
    message = error_of(capsys, *argv)
    assert all(part in message for part in expected), message


@pytest.mark.parametrize('text, expected', [
    ('mommentum: 0.9', ['mommentum', 'momentum']),
    ('config: other.yaml', ["unknown key 'config'"]),
    ('lr: fast', ['--lr', 'fast']),
    ('device: tpu', ['--device', 'xla']),
    ('- lr', ['key: value']),
    ('lr: [', ['cannot read']),
])
def test_bad_config_is_named_with_its_file(capsys, config, text, expected):
    path = config(text)
    message = error_of(capsys, '--config', path)
    assert all(part in message for part in [path, *expected]), message


def test_written_args_can_be_given_as_config_again(tmp_path):
    args = parse_args([
        '/images', '--scale', '0.5', '1', '--no-aug', '--amp', '--mu', '6', '--num-active', '10', '5', '3',
        '--model-kwargs', 'drop_rate=0.1', 'stem_type=deep', '--experiment', 'x',
    ])
    write_args(args, tmp_path)
    again = parse_args(['--config', str(tmp_path / 'args.yaml')])
    assert {**vars(again), 'config': None} == vars(args)
    assert 'config' not in yaml.safe_load((tmp_path / 'args.yaml').read_text())


def test_stock_twin_of_the_digits_recipe_differs_in_the_coding_alone():
    paths = (str(CONFIGS / f'{name}.yaml') for name in ('digits', 'digits_stock'))
    coded, stock = (vars(parse_args(['--config', path])) for path in paths)
    different = {key for key in coded if coded[key] != stock[key]}
    assert different == {'config', 'model', 'mu', 'drop_subnn', 'experiment'}
    assert coded['model'] == f'coded_{stock["model"]}'


@pytest.mark.parametrize('text, message', [
    ('opt: [sgd, adam]', "opt does not take the list ['sgd', 'adam']"),
    ('scale: [0.7, 1, 1.2]', 'scale does not take the list'),
    ('scheme_source: [a, b]', 'scheme_source does not take the list'),
    ('data_dir: [a, b]', 'data_dir takes the name of a folder'),
    ('data_dir: 5', 'data_dir takes the name of a folder, got 5'),
    ('model_kwargs: abc', "model_kwargs takes NAME: VALUE pairs, got 'abc'"),
    ('lr: 0.1\nlr: 0.2', "the key 'lr' stands twice"),
    ('lr: .inf', 'must be finite'),
])
def test_config_value_of_a_wrong_kind_is_named(config, capsys, text, message):
    assert message in error_of(capsys, '--config', config(text))


def test_model_kwargs_without_a_value_are_an_error(capsys):
    assert '--model-kwargs takes NAME=VALUE words' in error_of(capsys, '--model-kwargs', 'a')


@pytest.mark.parametrize('flag, value', [('--lr', 'inf'), ('--mu', 'nan'), ('--decay-epochs', '0')])
def test_numbers_must_be_finite_and_in_range(capsys, flag, value):
    assert flag in error_of(capsys, flag, value)
