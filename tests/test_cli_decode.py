import csv
import json

import numpy as np
import pytest
import torch
from coded_outputs import drawn_outputs

from timm_coded.analysis.calibration.calibrator import load_calibrator
from timm_coded.analysis.outputs import load_outputs
from timm_coded.cli import main
from timm_coded.train.trained import load_trained


@pytest.fixture(scope='module')
def outputs_file(digits_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp('evaluated')
    assert main(['evaluate', str(digits_checkpoint), '--output', str(folder)]) == 0
    return folder / 'outputs-validation.npz'


@pytest.fixture
def drawn_file(tmp_path):
    drawn_outputs(samples=200)[0].save(tmp_path / 'drawn.npz')
    return tmp_path / 'drawn.npz'


def table(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_decode_tells_tables_and_curves_from_outputs_alone(outputs_file, tmp_path, capsys):
    assert main(['decode', str(outputs_file), '--output', str(tmp_path)]) == 0
    outputs = load_outputs(outputs_file)
    rows = table(tmp_path / 'agreement.csv')
    assert sum(int(row['samples']) for row in rows) == len(outputs.targets) and len(rows) == len(outputs.blocks) + 1
    hits = sum(int(row['samples']) * float(row['accuracy'] or 0) / 100 for row in rows)
    assert hits == pytest.approx((outputs.predictions == outputs.targets).sum())
    assert 'SIMULATED' in capsys.readouterr().out and not (tmp_path / 'exits.csv').exists()


def test_decode_runs_the_checkpoint_that_made_the_outputs(outputs_file, digits_checkpoint, tmp_path, one_thread):
    assert main(['decode', str(outputs_file), '--checkpoint', str(digits_checkpoint), '--output', str(tmp_path),
                 '--margins', '0', '0.1', '--agreements', '2', '--timed-batch-sizes', '32', '--repeats', '2', '--timed',
                 '32', '--images', '1000']) == 0
    rows = {row['rule']: row for row in table(tmp_path / 'exits.csv')}
    assert list(rows) == ['whole network', 'margin 0', 'margin 0.1', 'agreement 2']
    simulated = {f'{row["rule"]} {float(row["threshold"]):g}': row for row in table(tmp_path / 'exits_simulated.csv')}
    for rule in list(rows)[1:]:
        for column in ('accuracy', 'mean MACs', 'left early'):
            assert float(rows[rule][column]) == pytest.approx(float(simulated[rule][column]))


def test_calibrator_of_the_command_calibrates_new_images(outputs_file, digits_checkpoint, tmp_path, capsys):
    assert main(['calibrate', str(outputs_file), '--draws', '3', '--output', str(tmp_path)]) == 0
    assert len(table(tmp_path / 'calibration.csv')) == 6 and (tmp_path / 'reliability.png').exists()
    assert 'Table 6' in json.loads((tmp_path / 'calibrate.json').read_text())['tables']['calibration']['title']
    calibrator = load_calibrator(tmp_path / 'calibrator.json')
    trained = load_trained(digits_checkpoint)
    images, targets = next(iter(trained.images()))
    probabilities = calibrator.predict(trained.model, images[targets >= 0])
    outputs = load_outputs(outputs_file)
    count = int((targets >= 0).sum())
    decoded = {block: classes[:count] for block, classes in outputs.decoded().items()}
    assert torch.allclose(probabilities, calibrator.probabilities(outputs.logits[:count], decoded), atol=1e-4)


def test_outputs_of_other_images_are_not_run_beside_these(outputs_file, digits_checkpoint, tmp_path, capsys):
    for flags in (['--split', 'train'], ['--img-size', '16']):
        argv = ['decode', str(outputs_file), '--checkpoint', str(digits_checkpoint), '--output', str(tmp_path), *flags]
        assert main(argv) == 2
        assert 'the outputs are of digits validation in 8 pixels, not of' in capsys.readouterr().err


@pytest.mark.parametrize('arguments, message', [
    ([], 'Errno|No such file'),
    (['--checkpoint', 'CHECKPOINT'], 'of another model'),
    (['--checkpoint', 'nowhere.pth.tar'], 'nowhere.pth.tar'),
    (['--checkpoint', 'CHECKPOINT', '--margins', '1.5'], 'expected a number from 0 to 1'),
    (['--checkpoint', 'CHECKPOINT', '--margins', 'nan'], 'expected a number from 0 to 1'),
    (['--checkpoint', 'CHECKPOINT', '--agreements', '4'], 'there are 3'),
    (['--margins', '0.1'], '--margins is for running the network: give --checkpoint'),
    (['--timed-batch-sizes', '2'], '--timed-batch-sizes is for running the network'),
    (['somewhere'], 'DATA_DIR is for running the network'),
    (['--split', 'train'], '--split is for running the network'),
    (['--use-ema'], '--use-ema is for running the network'),
    (['--device', 'cuda'], '--device is for running the network'),
])
def test_decode_tells_bad_input_in_one_line(drawn_file, digits_checkpoint, tmp_path, capsys, arguments, message):
    source = drawn_file if arguments else tmp_path / 'missing.npz'
    arguments = [str(digits_checkpoint) if argument == 'CHECKPOINT' else argument for argument in arguments]
    order = [*arguments, '--output', str(tmp_path / 'out')]
    assert main(['decode', str(source), *order]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert any(part in error for part in message.split('|'))


def broken(path):
    path.write_bytes(b'nothing')
    return 'is no file of outputs'


def without_classes(path):
    outputs = load_outputs(path)
    outputs.targets[:] = -1
    outputs.save(path)
    return 'does not know'


def few(path):
    outputs = load_outputs(path)
    outputs.targets[:] = np.arange(len(outputs.targets)) % 9
    outputs.targets[:3] = 9
    outputs.save(path)
    return 'class 9 has 3 samples'


def all_right(path):
    outputs = load_outputs(path)
    outputs.targets[:] = outputs.predictions
    outputs.save(path)
    return 'predictions are right'


@pytest.mark.parametrize('spoil', [broken, without_classes, few, all_right])
def test_calibrate_tells_bad_input_in_one_line(drawn_file, capsys, spoil):
    message = spoil(drawn_file)
    assert main(['calibrate', str(drawn_file)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and message in error
    assert not (drawn_file.parent / 'analysis' / 'calibrator.json').exists()


def test_calibrate_needs_splits_enough(drawn_file, capsys):
    assert main(['calibrate', str(drawn_file), '--draws', '1']) == 2
    assert 'splits is 1' in capsys.readouterr().err
