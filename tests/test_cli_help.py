"""Every command of `timm-coded` shows examples that work, and a flag means the same in all of them."""
import argparse
import shlex
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

import timm_coded
from timm_coded.cli import main
from timm_coded.cli.main import COMMANDS, build_parser
from timm_coded.train import launch
from timm_coded.train.args import build_parser as build_train_parser
from timm_coded.train.args import parse_args

ROOT = Path(__file__).parent.parent


def examples(text: str) -> list[str]:
    """The commands below 'example:', a line each; one that ends in a backslash goes on in the next."""
    part = text.split('example:\n' if 'example:\n' in text else 'examples:\n')[1].split('\n\n')[0]
    return [line.strip() for line in part.replace('\\\n', ' ').splitlines()]


def words(line: str) -> list[str]:
    """What the shell makes of a command: without settings of variables, comments and what it is piped into."""
    found = shlex.split(line.partition('|')[0], comments=True)
    while '=' in found[0]:
        found = found[1:]
    return found


def help_of(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit, match='^0$'):
        main([*argv, '--help'])
    out, err = capsys.readouterr()
    assert err == ''
    return out


@pytest.mark.parametrize('name', COMMANDS)
def test_help_ends_in_examples_that_the_command_takes(name, capsys):
    lines = examples(help_of(capsys, name))
    assert any(words(line)[1] == name for line in lines)
    for line in lines:
        prog, command, *argv = words(line)
        assert prog == 'timm-coded'
        build_parser([command]).parse_args([command, *argv])


@pytest.mark.parametrize('name', COMMANDS)
def test_help_can_be_read_on_a_narrow_terminal(name, capsys, monkeypatch):
    for columns in range(74, 90, 3):
        monkeypatch.setenv('COLUMNS', str(columns))
        text = help_of(capsys, name).split('example:')[0]
        assert max(map(len, text.splitlines())) <= columns


def test_help_of_the_whole_names_every_command_and_the_exit_statuses(capsys):
    text = help_of(capsys)
    for name, summary in COMMANDS.items():
        assert f'\n    {name} ' in text and summary.split()[0] in text
    statuses = text.split('exit status:\n')[1].splitlines()
    assert [line.split()[0] for line in statuses] == ['0', '1', '2', '130']


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match='^0$'):
        main(['--version'])
    assert capsys.readouterr().out == f'timm-coded {timm_coded.__version__}\n'


@pytest.mark.parametrize('argv, said', [
    (['evalute'], "there is no command 'evalute'; did you mean evaluate?"),
    (['train'], "there is no command 'train'"),
    (['evalute', 'codes'], "there is no command 'evalute'; did you mean evaluate?"),
    (['codes', '--num-classes', '4', '--num-subnns', '4', '--num-active', '2', '--sead', '1'],
     'unknown argument --sead; did you mean --seed?'),
    (['detect', 'a.npz', '--agianst=b.npz'], 'unknown argument --agianst=b.npz; did you mean --against?'),
])
def test_misspelt_word_is_answered_with_the_right_one(argv, said, capsys):
    with pytest.raises(SystemExit, match='^2$'):
        main(argv)
    out, err = capsys.readouterr()
    assert said in err and err.count('\n') == 1 and out == ''


def test_same_flag_means_the_same_in_all_commands():
    """It has the same short form, takes the same kind of word, and, but for one or several, as many."""
    uses = defaultdict(dict)
    for name in COMMANDS:
        parser = build_parser([name])
        subparsers, = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        for action in subparsers.choices[name]._actions:
            for flag in action.option_strings:
                takes = str(action.metavar).partition('.')[0]
                choices = sorted(set(action.choices or ()) - {'both'})  # of --mode, where a table has room for both
                uses[flag][name] = action.option_strings, takes, choices, action.dest
    assert {use[1] for use in uses['--output'].values()} == {'FOLDER', 'FILE'}  # many files, or one
    assert all(uses['--output'][name][1] == 'FILE' for name in ('codes', 'paths', 'extract'))
    for flag, use in uses.items():
        if flag != '--output':
            kinds = set(map(str, use.values()))
            assert len(kinds) == 1, f'{flag}: {use}'
    for long, short in (('--batch-size', '-b'), ('--workers', '-j')):
        assert set(uses[long]) == set(uses[short])


def test_every_command_that_prints_tables_prints_them_as_json_too(capsys):
    for name in COMMANDS:
        has_tables = {'publish', 'publish_all', 'print_json'} & set(vars(import_module(f'timm_coded.cli.{name}')))
        assert bool(has_tables) == ('[--json]' in help_of(capsys, name)), name


def test_training_shows_examples_and_the_statuses_it_ends_with():
    text = build_train_parser().format_help()
    for line in examples(text):
        python, script, *argv = words(line)
        assert (python, script) == ('python', 'train_xla.py') and (ROOT / script).is_file()
        argv = [str(ROOT / word) if word.startswith('configs/') else word for word in argv]
        assert parse_args(argv).config.endswith('.yaml')
    statuses = {int(line.split()[0]) for line in text.split('exit status:\n')[1].splitlines()}
    assert statuses == {launch.FINISHED, launch.CRASHED, launch.USER_ERROR, launch.STOPPED}


def arguments_of(name):
    parser = build_parser([name])
    subparsers, = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [action for action in subparsers.choices[name]._actions if action.dest != 'help']


@pytest.mark.parametrize('name', COMMANDS)
def test_help_explains_every_argument_and_shows_its_default(name):
    for action in arguments_of(name):
        help = action.help % vars(action)
        explained, _, default = help.partition('default: ')
        assert explained, f'{action.dest}: what is it?'
        if action.default not in (None, False, [], {}):
            values = action.default if isinstance(action.default, list) else [action.default]
            assert all(f'{value:g}' if isinstance(value, float) else str(value) in default for value in values), (
                f'{action.dest}: {help}')
        assert '(default' not in help
