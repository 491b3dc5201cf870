"""Help, errors of arguments and the plain commands need a plain installation only; the others say what they miss."""
import json
import shlex
import subprocess
import sys

import pytest
import torch
from random_network import random_network

from timm_coded.cli import main
from timm_coded.cli.main import COMMANDS, build_parser

OPTIONAL = ['matplotlib', 'scipy', 'sklearn', 'captum', 'threadpoolctl', 'shtab', 'onnx', 'onnxscript', 'onnxruntime',
            'jax', 'jaxlib', 'libtpu', 'torch_xla', 'datasets', 'wandb', 'tensorboard', 'simplejpeg']
ANALYSIS = ['paths', 'evaluate', 'classify', 'ablate', 'decode', 'calibrate', 'activations', 'detect', 'explain',
            'report', 'benchmark', 'input', 'host']
RUNNER = '''
import contextlib, io, json, sys
missing, calls = json.load(sys.stdin)
sys.modules.update(dict.fromkeys(missing))  # importing them fails, and looking for them finds nothing
from timm_coded.cli import main
results = []
for argv in calls:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as stop:
            status = stop.code
    results.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(results))
'''


def run_without(missing, calls) -> list:
    """Status, stdout and stderr of each call, all in one process in which these packages are not installed."""
    done = subprocess.run([sys.executable, '-c', RUNNER], input=json.dumps([missing, calls]), capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope='module')
def plainly():
    """What commands give where only `pip install .` was done, by their words."""
    calls = [[name, '--help'] for name in COMMANDS] + [[name, '--bogus'] for name in COMMANDS]
    calls += [example_of(name) for name in ANALYSIS] + [['--help'], ['--print-completion', 'bash']]
    return dict(zip(map(tuple, calls), run_without(OPTIONAL, calls)))


def example_of(name: str) -> list[str]:
    subparsers = build_parser([name])._subparsers._group_actions[0]
    lines = subparsers.choices[name].epilog.replace('\\\n', ' ').splitlines()
    line = next(line for line in lines if f'timm-coded {name} ' in line)
    return shlex.split(line.partition('timm-coded')[2])


@pytest.mark.parametrize('name', COMMANDS)
def test_help_needs_a_plain_installation_only(name, plainly):
    status, out, err = plainly[name, '--help']
    assert status == 0 and out.startswith(f'usage: timm-coded {name} ') and err == ''
    assert plainly['--help',][0] == 0


@pytest.mark.parametrize('name', COMMANDS)
def test_wrong_arguments_are_told_before_missing_packages(name, plainly):
    status, out, err = plainly[name, '--bogus']
    assert status == 2 and out == '' and err.count('\n') == 1
    assert 'required' in err or 'unknown argument --bogus' in err


@pytest.mark.parametrize('name', ANALYSIS)
def test_what_a_command_misses_is_told_in_one_line(name, plainly):
    assert plainly[tuple(example_of(name))] == [
        2, '', f"timm-coded {name}: needs matplotlib: pip install 'timm_coded[analysis]'\n"]


@pytest.mark.parametrize('name, missing, extra', [
    ('calibrate', 'scipy', 'analysis'), ('calibrate', 'sklearn', 'analysis'),
    ('calibrate', 'threadpoolctl', 'analysis'), ('detect', 'sklearn', 'analysis'), ('report', 'captum', 'analysis'),
    ('report', 'sklearn', 'analysis'), ('input', 'simplejpeg', 'fast'),
])
def test_each_missing_package_is_named_before_any_file_is_read(name, missing, extra, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main([name, 'no-such-file']) == 2
    assert capsys.readouterr().err == f"timm-coded {name}: needs {missing}: pip install 'timm_coded[{extra}]'\n"


def test_captum_is_needed_by_attacks_only(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'captum', None)
    assert main(['evaluate', 'no-such-file', '--attack', 'fgsm']) == 2
    assert 'needs captum: pip install' in capsys.readouterr().err
    assert main(['evaluate', 'no-such-file']) == 2
    assert 'there is no checkpoint no-such-file' in capsys.readouterr().err


def test_plain_commands_run_where_nothing_else_is_installed(tmp_path):
    torch.save(random_network().state_dict(), tmp_path / 'weights.pth')
    weights = [str(tmp_path / 'weights.pth'), '--model', 'coded_resnext11_10x11d']
    runs = [str(tmp_path / name / 'extract.json') for name in ('one', 'other')]
    results = run_without(OPTIONAL, [
        ['codes', '--num-classes', '4', '--num-subnns', '4', '--num-active', '2'],
        *(['extract', *weights, '--classes', '3', '--repeats', '0', '--output', run.replace('/extract.json', '.pth')]
          for run in runs),
        ['export', *weights, '--torch-export', str(tmp_path / 'all.pt2')],
        ['push', *weights, '--folder', str(tmp_path / 'pushed')],
        ['average', *runs],
    ])
    assert [status for status, _, _ in results] == [0] * 6, results


def test_completion_needs_the_package_that_writes_it_and_no_other(plainly):
    assert plainly['--print-completion', 'bash'] == [
        2, '', "timm-coded: needs shtab: pip install 'timm_coded[analysis]'\n"]
    pytest.importorskip('shtab')
    others = [name for name in OPTIONAL if name != 'shtab']
    (status, script, err), = run_without(others, [['--print-completion', 'bash']])
    assert status == 0 and err == '' and all(name in script for name in COMMANDS)
