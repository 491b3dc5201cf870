"""`timm-coded benchmark` compares any two models, on the CPU and on XLA, and refuses at once what cannot be."""
import csv
import json

import pytest
import timm
import torch
from run_command import run_command

from timm_coded.analysis.extraction.sizes import multiplications
from timm_coded.cli import main

pytestmark = pytest.mark.usefixtures('one_thread')
SMALL = '--num-classes', '10', '--img-size', '12', '--batch-size', '2', '--repeats', '2'


def read(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_tables_and_chart_of_two_models(tmp_path, capsys):
    models = 'resnext11_10x11d', 'resnet10t'
    assert main(['benchmark', *models, *SMALL, '--batch-size', '2', '2', '3', '--mode', 'inference', '--precision',
                 'bf16', '--channels-last', '--output', str(tmp_path)]) == 0
    rows = read(tmp_path / 'speed.csv')
    assert [(row['model'], row['batch']) for row in rows] == [(name, batch) for batch in '23' for name in models]
    assert {row['repeats'] for row in rows} == {'2'} and {float(row['ratio']) for row in rows[::2]} == {1.}
    assert len(read(tmp_path / 'sizes.csv')) == 4 and (tmp_path / 'speed.png').stat().st_size > 1000
    title = json.loads((tmp_path / 'benchmark.json').read_text())['title']
    assert 'measured' in title and 'autocast bfloat16, channels_last' in title
    assert title in capsys.readouterr().out


def test_another_ratio_is_that_of_the_coded_models_and_stands_in_the_tables(tmp_path):
    assert main(['benchmark', 'resnext11_10x11d', 'coded_resnext11_10x11d', *SMALL, '--num-active', '10', '10', '3',
                 '--mode', 'inference', '--output', str(tmp_path)]) == 0
    names = ['resnext11_10x11d', 'coded_resnext11_10x11d:num_active=10,10,3']
    assert [row['model'] for row in read(tmp_path / 'speed.csv')] == names
    sizes = read(tmp_path / 'sizes.csv')
    assert [row['model'] for row in sizes] == names
    # of what the energies cost, that of the one block that is left
    whole, part = (float(row['GMACs an image']) for row in sizes)
    model = timm.create_model('coded_resnext11_10x11d', num_active=(10, 10, 3))
    assert float(part) == pytest.approx(multiplications(model, 12, 2, False)[''] / 1e9) and part > whole


@pytest.mark.slow
def test_on_xla_nothing_is_compiled_while_times_are_taken(tmp_path):
    models = 'resnext11_10x11d:packed', 'coded_resnext11_10x11d:packed'
    done = run_command('benchmark', *models, *SMALL, '--mode', 'train', '--device', 'xla', '--output', tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'WARNING' not in done.stdout and 'XLA:CPU' in done.stdout
    rows = read(tmp_path / 'speed.csv')
    assert [row['model'] for row in rows] == list(models)
    assert all(int(row['graphs']) >= 1 and 'peak [MiB]' not in row for row in rows)


@pytest.mark.parametrize('args, message', [
    (['no_such_model'], 'there is no --model no_such_model'),
    (['resnext11_10x11d:padded'], "there is no form 'padded'"),
    (['resnext11_10x11d:paper'], 'no coded blocks'),
    (['coded_resnext11_10x11d', '--num-classes', '5000'], 'cannot make coded_resnext11_10x11d'),
    (['--batch-size', '0'], 'must be at least 1, got 0'),
    (['--img-size', '0'], 'must be at least 1, got 0'),
    (['--repeats', '0'], 'must be at least 1, got 0'),
    (['--device', 'cuda'], 'finds no GPU here'),
    (['--device', 'xla', '--compile'], '--compile is for cpu and cuda'),
    (['--device', 'xla', '--channels-last'], '--channels-last is for cpu and cuda'),
    (['--device', 'tpu'], 'invalid choice'),
    (['--precision', 'fp16'], 'invalid choice'),
    (['vit_tiny_patch16_224', '--img-size', '100'], 'vit_tiny_patch16_224 does not take images of 100 pixels'),
    (['resnext11_10x11d', '--num-classes', '10', '--img-size', '12', '--output', 'file'], 'cannot write to --output'),
    (['resnext11_10x11d', 'resnet18', '--num-active', '10', '5', '3'], 'none of resnext11_10x11d, resnet18 is coded'),
    (['coded_resnext11_10x11d', '--num-classes', '10', '--num-active', '5'], 'one entry for each of the 3 stages'),
])
def test_wrong_input_is_one_line_at_once(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('timm_coded.speed.benchmark.compare', lambda *args: pytest.fail('something slow was begun'))
    try:
        status = main(['benchmark', *args])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    assert status == 2 and message in err and len(err.splitlines()) == 1 and out == ''
