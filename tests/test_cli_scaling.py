"""`timm-coded scaling`: wrong input is told in a line; the table is the slow test's."""
import json

import pytest
from run_command import run_command

from timm_coded.cli.main import main


@pytest.mark.parametrize('argv, said', [
    (['--slices', 'v5e-7'], "there is no slice 'v5e-7'"),
    (['--slices', 'v5e-256', '--global-batch-size', '100'], 'cannot be spread evenly'),
    (['resnett18'], 'resnett18'),
    (['--input-rate', '0'], 'at least'),
    (['--num-active', '32', '32', '16'], 'num_active=32,32,16: ValueError: num_active is (32, 32, 16), expected'),
])
def test_wrong_input_is_told_in_a_line(argv, said, capsys, tmp_path):
    try:
        status = main(['scaling', *argv, '--output', str(tmp_path)])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_table(tmp_path):
    done = run_command('scaling', 'test_resnet', '--slices', 'v2-8', '--batch-size', '2', '--global-batch-size', '16',
                       '--img-size', '32', '--num-classes', '10', '--output', tmp_path)
    assert done.returncode == 0, done.stderr
    row, = json.loads((tmp_path / 'scaling.json').read_text())['tables']['scaling']['rows']
    assert row['all-reduce MB'] == round(4 * 373_658 / 1e6, 1)
    assert row['devices'] == 8 and 0 < row['efficiency %'] <= 110
