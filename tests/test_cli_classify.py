"""`timm-coded classify` writes its findings and thresholds, and says in one line what is wrong with its input."""
import csv
import json

import pytest
import timm
import torch
from run_command import failure

from timm_coded.analysis.outputs import fingerprint
from timm_coded.cli import main
from timm_coded.train.trained import load_trained


@pytest.fixture(scope='module')
def twin(tmp_path_factory):
    """The stock twin, not trained."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('stock') / 'stock.pth'
    torch.save(timm.create_model('resnext11_10x11d', zero_init_last=False).state_dict(), path)
    return path


def test_all_is_written(digits_checkpoint, twin, tmp_path, capsys):
    named = ['--stock', str(twin), '--stock-model', 'resnext11_10x11d']
    assert main(['classify', str(digits_checkpoint), '--classes', '3', '8', '--foreign', 'letters', *named,
                 '--train-limit', '20', '--draws', '3', '--output', str(tmp_path / 'out')]) == 0
    folder = tmp_path / 'out'
    content = json.loads((folder / 'classifiers.json').read_text())
    assert content['fingerprint'] == fingerprint(load_trained(digits_checkpoint).model)
    assert list(content['thresholds']) == ['3', '8']
    with open(folder / 'classes.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    methods = ['extracted', 'full network', 'stock, extracted', 'stock, full network']
    assert [row['method'] for row in rows] == 2 * methods
    assert float(rows[0]['threshold']) == content['thresholds']['3']
    assert len(json.loads((folder / 'classify.json').read_text())['tables']['classifiers']['rows']) == 4 * 4
    for name in ('precision-recall', 'distributions'):
        assert (folder / f'{name}.png').stat().st_size > 10_000
    printed, said = capsys.readouterr()
    assert '740 images of another data set' in printed and 'on 200 training images' in printed
    assert 'of 389 validation images' in printed and 'classifiers.json' in said


def test_wrong_input_is_told_in_one_line_before_any_image_is_read(digits_checkpoint, twin, tmp_path, capsys):
    run = [digits_checkpoint, '--output', tmp_path / 'out']
    assert 'there is no class 10: the model has 10 classes' in failure(capsys, 'classify', *run, '--classes', 10)
    assert 'of no use without --stock' in failure(capsys, 'classify', *run, '--stock-model', 'resnext11_10x11d')
    assert 'with coded blocks' in failure(capsys, 'classify', *run, '--stock', digits_checkpoint)
    assert 'there is no checkpoint' in failure(capsys, 'classify', *run, '--stock', tmp_path / 'none.pth')
    state = torch.load(digits_checkpoint, weights_only=True)
    state['args']['mean'] = [.1, .2, .3]
    torch.save(state, tmp_path / 'mean.pth.tar')
    assert 'of mean (' in failure(
        capsys, 'classify', tmp_path / 'mean.pth.tar', *run[1:], '--stock', twin, '--stock-model', 'resnext11_10x11d')
    other = tmp_path / 'other.pth'
    torch.save(timm.create_model('resnext11_10x11d', num_classes=7).state_dict(), other)
    assert '7 classes' in failure(capsys, 'classify', *run, '--stock', other, '--stock-model', 'resnext11_10x11d')
    assert 'no coded blocks' in failure(
        capsys, 'classify', twin, '--model', 'resnext11_10x11d', '--dataset', 'digits', '--output', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    assert '37 classes' in failure(capsys, 'classify', *run, '--dataset', 'letters')
    assert 'nowhere' in failure(capsys, 'classify', *run, '--foreign', ':nowhere')
    assert not (tmp_path / 'out' / 'classifiers.json').exists()
    with pytest.raises(SystemExit):
        main(['classify', str(digits_checkpoint), '--draws', '0'])
