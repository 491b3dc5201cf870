"""`timm-coded activations` of a trained network: active subNNs put out more, and the files are there."""
import csv

import pytest
from run_command import run_command

from timm_coded.cli import main


@pytest.mark.parametrize('device', ['cpu', pytest.param('xla', marks=pytest.mark.slow)])
def test_active_subnns_put_out_more(digits_checkpoint, tmp_path, device):
    if device == 'xla':
        pytest.importorskip('torch_xla')
    done = run_command('activations', digits_checkpoint, '--blocks', 'layer3.0', '--output', tmp_path, '-j', '0',
                       '--device', device, '-b', '200')
    assert done.returncode == 0 and '389 samples' in done.stdout, done.stderr
    with open(tmp_path / 'activations.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert all(float(row['mean, active']) > float(row['mean, inactive']) for row in rows)
    with open(tmp_path / 'energies.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['block'] for row in rows] == ['layer2.0', 'layer3.0']
    assert all(float(row['active: mean']) > float(row['inactive: mean']) for row in rows)
    names = {path.name for path in tmp_path.iterdir()}
    assert {'activations-layer3.0.png', 'energies-layer2.0.png', 'energies-layer3.0.png', 'activations.json',
            'activations-histogram.csv', 'energies-classes.csv'} <= names


@pytest.mark.parametrize('flags, message', [
    (['--blocks', 'layer9.0'], "'layer9.0' is not a coded block"), (['--dataset', 'letters'], '37 classes'),
])
def test_wrong_input_is_told_in_one_line(digits_checkpoint, tmp_path, capsys, flags, message):
    assert main(['activations', str(digits_checkpoint), '--output', str(tmp_path), *flags]) == 2
    out, err = capsys.readouterr()
    assert message in err and out == '' and len(err.splitlines()) == 1
