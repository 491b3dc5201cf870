"""`timm-coded estimate`: tables, files, finished estimates that are not made again, and errors in a line."""
import csv
import importlib.util
import json

import pytest
from run_command import run_command

from timm_coded.cli import estimate
from timm_coded.cli.main import main
from timm_coded.models import CodedBottleneck
from timm_coded.speed.forms import create_form
from timm_coded.tpu.estimate import Estimate

CODED = 'coded_resnext11_10x11d:packed'
SMALL = ['--img-size', '32', '--num-classes', '10', '--batch-size', '2']


@pytest.fixture(scope='module')
def output(tmp_path_factory):
    return tmp_path_factory.mktemp('estimate')


@pytest.fixture(scope='module')
def first(output):
    return run_command('estimate', 'test_resnet', '--chips', 'v2', '--output', output, *SMALL)


def test_tables_and_files(first, output):
    assert first.returncode == 0, first.stderr
    assert 'not measured' in first.stdout
    content = json.loads((output / 'estimate.json').read_text())
    row, = content['tables']['estimate']['rows']
    assert row['fits'] == 'yes' and row['parameters'] == 373_658 and row['est. time / first'] == 1
    assert row['est. images/s'] == pytest.approx(2 / row['est. ms'] * 1e3, rel=1e-3)
    tops = content['tables']['estimate-costliest']['rows']
    assert len(tops) == 10
    assert all(a['est. ms'] >= b['est. ms'] for a, b in zip(tops, tops[1:]))
    assert {row['pass'] for row in tops} & {'forward', 'backward'}
    with open(output / 'estimate-instructions.csv') as file:
        every = list(csv.DictReader(file))
    assert sum(float(row['% of step']) for row in every) == pytest.approx(100, abs=8)
    assert {row['layer'] for row in every} >= {'conv1', 'optimizer'} or any(
        row['layer'].startswith('layer4') for row in every)


def test_a_finished_estimate_is_not_made_again(first, output):
    file, = (output / 'finished').glob('*.json')
    kept = json.loads(file.read_text())
    kept['seconds'] = 0.123
    file.write_text(json.dumps(kept))
    again = run_command('estimate', 'test_resnet', '--chips', 'v2', '--output', output, *SMALL)
    assert again.returncode == 0 and '123.000 ms' in again.stderr


def test_coded_models_are_estimated_with_the_ratio_that_is_given_and_the_tables_name_it(tmp_path, monkeypatch, capsys):
    made = []

    def estimated(step, graph, chip, cache):
        blocks = create_form(step.model, step.num_classes).modules()
        made.append((step.model, [block.num_active for block in blocks if isinstance(block, CodedBottleneck)]))
        return Estimate(step, chip.name, True, seconds=1.)

    monkeypatch.setattr(estimate, 'trace_apart', lambda step: None)
    monkeypatch.setattr(estimate, 'estimate', estimated)
    models = ['test_resnet', CODED, f'{CODED}:num_active=10,6,3']
    assert main(['estimate', *models, *SMALL, '--num-active', '10', '7', '2', '--output', str(tmp_path), '--json']) == 0
    named = ['test_resnet', f'{CODED}:num_active=10,7,2', f'{CODED}:num_active=10,6,3']
    assert made == list(zip(named, ([], [10, 7, 2], [10, 6, 3])))
    tables = json.loads(capsys.readouterr().out)['estimate']['tables']
    assert [row['model'] for row in tables['estimate']['rows']] == named


@pytest.mark.parametrize('argv, said', [
    (['resnet18', '--chips', 'v9'], "there is no TPU 'v9'"),
    (['resnett18'], 'resnett18'),
    (['resnet18', '--batch-size', '0'], 'at least 1'),
    (['resnet18', '--replicas', '4096', '--chips', 'v5e'], '--replicas 4096'),
    (['resnet18:paper'], 'resnet18:paper'),
    (['resnet18', 'resnet18'], 'resnet18 is named twice'),
    (['resnet18', '--output', '/proc/x'], 'cannot write to --output'),
    (['resnet18', '--num-active', '32', '32', '16', '4'], 'none of resnet18 is coded, which num_active is for'),
    ([CODED, '--num-active', '10', '5'], 'expected one entry for each of the 3 stages'),
    ([CODED, '--model-kwargs', 'num_active'], '--model-kwargs takes NAME=VALUE words, got num_active'),
    ([CODED, '--num-active', '10', '7', '2', '--model-kwargs', 'num_active=1'], '--num-active and --model-kwargs both'),
    ([CODED, f'{CODED}:num_active=10,7,2', '--num-active', '10', '7', '2'], ':num_active=10,7,2 is named twice'),
])
def test_wrong_input_is_told_in_a_line_before_anything_is_compiled(argv, said, capsys, tmp_path):
    try:
        status = main(['estimate', *argv] + ([] if '--output' in argv else ['--output', str(tmp_path)]))
    except SystemExit as stop:  # argparse's own
        status = stop.code
    assert status == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert not any('...' in line for line in error)


@pytest.mark.parametrize('package', ['jax', 'libtpu', 'torch_xla'])
def test_a_missing_package_is_told_with_its_extra(package, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *rest: None if name == package else find(name, *rest))
    assert main(['estimate', 'resnet18']) == 2
    assert capsys.readouterr().err == f"timm-coded estimate: needs {package}: pip install 'timm_coded[estimate]'\n"
