"""`timm-coded host` hands its flags on, writes what was found, and answers wrong input in one line."""
import csv

import pytest
import torch

from timm_coded.analysis.findings import Findings, Table
from timm_coded.cli import host, main


@pytest.fixture
def calls(monkeypatch):
    seen = []

    def host_times(*args):
        seen.append(args)
        return Findings('host', 'title', [Table('host', 'table', [{'model': 'net', 'median_ms': 1.5}])])

    monkeypatch.setattr(host, 'host_times', host_times)
    return seen


def test_defaults_are_the_imagenet_model_and_its_stock_twin(calls, tmp_path):
    assert main(['host', '--output', str(tmp_path)]) == 0
    assert calls == [(['coded_resnext50_32x4d:packed', 'resnext50_32x4d:packed'], 1000, 32, 2, torch.bfloat16, 20)]


def test_flags_are_handed_on_and_the_table_is_written_and_printed(calls, tmp_path, capsys):
    argv = ['host', 'resnet18', '--num-classes', '7', '--img-size', '64', '-b', '4', '--precision', 'float32',
            '--repeats', '3', '--output', str(tmp_path)]
    assert main(argv) == 0
    assert calls == [(['resnet18'], 7, 64, 4, None, 3)]
    with open(tmp_path / 'host.csv', newline='') as file:
        assert list(csv.DictReader(file)) == [{'model': 'net', 'median_ms': '1.5'}]
    assert '1.5' in capsys.readouterr().out


def test_another_ratio_is_that_of_the_coded_models(calls, tmp_path):
    assert main(['host', '--num-active', '32', '32', '16', '4', '--output', str(tmp_path)]) == 0
    assert calls[0][0] == ['coded_resnext50_32x4d:packed:num_active=32,32,16,4', 'resnext50_32x4d:packed']


@pytest.mark.parametrize('argv, message', [
    (['resnet18', '-b', '1'], '--batch-size 1: BatchNorm needs at least 2 images'),
    (['resnet18', 'resnet18'], 'resnet18 is named twice'),
    (['resnet18', '--num-active', '8'], 'none of resnet18 is coded'),
])
def test_wrong_input_is_told_in_one_line_before_anything_is_measured(calls, capsys, argv, message):
    assert main(['host', *argv]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f'timm-coded host: {message}') and err.count('\n') == 1 and calls == []


def test_output_that_cannot_be_written_to_is_told_before_anything_is_measured(calls, tmp_path, capsys):
    (tmp_path / 'file').touch()
    assert main(['host', '--output', str(tmp_path / 'file')]) == 2
    assert capsys.readouterr().err == (
        f'timm-coded host: cannot write to --output {tmp_path / "file"}: File exists\n') and calls == []


@pytest.mark.parametrize('argv', [['--repeats', '0'], ['--precision', 'fp8'], ['--img-size', '-1']])
def test_flags_out_of_range_are_refused(calls, capsys, argv):
    with pytest.raises(SystemExit) as stopped:
        main(['host', *argv])
    assert stopped.value.code == 2 and calls == []


def test_unknown_model_is_told_in_one_line(capsys):
    assert main(['host', 'resnext_nothing']) == 2
    err = capsys.readouterr().err
    assert 'there is no --model resnext_nothing' in err and err.count('\n') == 1
