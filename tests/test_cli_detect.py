"""`timm-coded evaluate --attack` and `timm-coded detect`, from a checkpoint to the table; wrong input in one line."""
import json

import numpy as np
import pytest
from run_command import failure, run_command

from timm_coded.analysis.outputs import load_outputs
from timm_coded.cli import main


@pytest.fixture(scope='module')
def folder(digits_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp('detect')
    for flags in ([], ['--foreign', 'letters'], ['--attack', 'fgsm', '--epsilon', '0.2']):
        assert main(['evaluate', str(digits_checkpoint), '--output', str(folder), '-j', '0', *flags]) == 0
    return folder


def test_letters_and_attacked_digits_are_told_from_digits(folder, tmp_path, capsys):
    files = [str(folder / f'outputs-{name}.npz') for name in ('letters', 'validation-fgsm-1-5')]
    assert main(['detect', str(folder / 'outputs-validation.npz'), '--against', *files, '--output', str(tmp_path)]) == 0
    assert 'AUROC' in capsys.readouterr().out
    tables = json.loads((tmp_path / 'detect.json').read_text())['tables']
    auroc = {(row['against'], row['score']): row['AUROC'] for row in tables['detect']['rows']}
    for against in ('wrong predictions', 'letters', 'validation-fgsm-1-5', 'validation-fgsm-1-5, changed'):
        for score in ('code distance', 'path distance', 'max-softmax', 'energy score'):
            assert auroc[against, score] > 60, (against, score)
    assert (tmp_path / 'detect.csv').exists() and (tmp_path / 'detect.png').exists()
    attacked = tables['detect-samples']['rows'][2]
    assert attacked['accuracy'] < 80 and attacked['attack'] == 'FGSM, epsilon 0.2'


def test_attack_keeps_targets_and_leaves_the_accuracy_of_the_clean_images(folder, digits_checkpoint, tmp_path, capsys):
    clean, attacked = (load_outputs(folder / f'outputs-{name}.npz') for name in ('validation', 'validation-fgsm-1-5'))
    assert np.array_equal(clean.targets, attacked.targets) and clean.fingerprint == attacked.fingerprint
    assert 'attack' not in clean.about and not np.allclose(clean.logits, attacked.logits)
    argv = ['evaluate', str(digits_checkpoint), '--output', str(tmp_path), '-j', '0']
    assert main([*argv, '--attack', 'pgd', '--steps', '1', '--step-size', '1/255']) == 0
    weak = load_outputs(tmp_path / 'outputs-validation-pgd-8-255.npz')
    accuracy = 100 * (weak.predictions == weak.targets).mean()
    found = json.loads((tmp_path / 'evaluate-pgd-8-255.json').read_text())
    assert 'under PGD, epsilon 0.03137, 1 steps of 0.003922' in found['title']
    assert found['tables']['accuracy-pgd-8-255']['rows'][0]['accuracy'] == pytest.approx(accuracy)
    assert not (tmp_path / 'accuracy.csv').exists()


def test_files_the_wrong_way_round_are_refused(folder, tmp_path, capsys):
    own, attacked = folder / 'outputs-validation.npz', folder / 'outputs-validation-fgsm-1-5.npz'
    run = ['--output', tmp_path]
    assert 'attacked images' in failure(capsys, 'detect', attacked, '--against', own, *run)
    assert 'the very outputs' in failure(capsys, 'detect', own, '--against', own, *run)


def test_wrong_input_is_told_in_one_line(folder, tmp_path, capsys):
    own, other = folder / 'outputs-validation.npz', tmp_path / 'outputs-validation.npz'
    run = ['--output', tmp_path / 'out']
    assert 'does not know' in failure(capsys, 'detect', folder / 'outputs-letters.npz', *run)
    assert 'No such file' in failure(capsys, 'detect', tmp_path / 'none.npz', *run)
    broken = tmp_path / 'broken.npz'
    broken.write_bytes(own.read_bytes()[:500])
    assert 'no file of outputs' in failure(capsys, 'detect', own, '--against', broken, *run)
    outputs = load_outputs(own)
    outputs.fingerprint = 'other'
    outputs.save(other)
    assert 'another model' in failure(capsys, 'detect', own, '--against', other, *run)
    assert 'two files named validation' in failure(capsys, 'detect', own, '--against', own, other, *run)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('flags, message', [
    (['--epsilon', '0.1'], '--epsilon: of which --attack?'), (['--step-size', '0.1'], '--step-size: of which'),
    (['--attack', 'fgsm', '--steps', '3'], 'leave out --steps'),
    (['--attack', 'pgd', '--foreign', 'letters'], '--foreign ones do not have'),
])
def test_flags_of_attacks_that_do_not_go_together_are_refused(digits_checkpoint, tmp_path, capsys, flags, message):
    assert message in failure(capsys, 'evaluate', digits_checkpoint, '--output', tmp_path, *flags)


def test_attack_is_refused_on_xla(digits_checkpoint, tmp_path):
    pytest.importorskip('torch_xla')
    done = run_command('evaluate', digits_checkpoint, '--output', tmp_path, '--attack', 'fgsm', '--device', 'xla')
    assert done.returncode == 2 and 'take --device cpu or cuda' in done.stderr


@pytest.mark.parametrize('epsilon', ['8/0', 'x', '0', '300/255', 'nan', '-1/255'])
def test_epsilon_is_a_part_of_a_pixel(digits_checkpoint, capsys, epsilon):
    with pytest.raises(SystemExit):
        main(['evaluate', str(digits_checkpoint), '--attack', 'fgsm', f'--epsilon={epsilon}'])
    assert len(capsys.readouterr().err.splitlines()) == 1
