"""`timm-coded evaluate` finds what training found, and says in one line what is wrong with its input."""
import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from run_command import failure, run_command

from timm_coded.analysis.outputs import load_outputs
from timm_coded.cli import main
from timm_coded.train.trained import load_trained


def last_metrics(path):
    return torch.load(path, weights_only=True)['history'][-1]


@pytest.mark.parametrize('device', ['cpu', 'xla'])
def test_accuracies_are_those_of_the_last_epoch(digits_checkpoint, tmp_path, device):
    if device == 'xla':
        pytest.importorskip('torch_xla')
    done = run_command('evaluate', digits_checkpoint, '--output', tmp_path, '--device', device, '-b', '100')
    assert done.returncode == 0, done.stderr
    with open(tmp_path / 'accuracy.csv', newline='') as file:
        found = {row['what']: float(row['accuracy']) for row in csv.DictReader(file)}
    trained = last_metrics(digits_checkpoint)
    assert found['network, top-1'] == pytest.approx(trained['eval_top1'], abs=.3)
    for block in ('layer2.0', 'layer3.0'):
        assert found[f'early decoder of {block}'] == pytest.approx(trained[f'eval_decoder_{block}'], abs=.3)
    outputs = load_outputs(tmp_path / 'outputs-validation.npz')
    assert outputs.logits.shape == (389, 10) and outputs.class_names == [str(k) for k in range(10)]
    assert outputs.about['model'] == 'coded_resnext11_10x11d' and outputs.about['img_size'] == 8
    assert json.loads((tmp_path / 'evaluate.json').read_text())['tables']['accuracy']
    assert '389 images' in done.stderr


def test_moving_average_is_another_model(digits_checkpoint, tmp_path):
    for name, flags in (('own', []), ('ema', ['--use-ema'])):
        assert main(['evaluate', str(digits_checkpoint), '--output', str(tmp_path / name), *flags]) == 0
    own, ema = (load_outputs(tmp_path / name / 'outputs-validation.npz') for name in ('own', 'ema'))
    assert own.fingerprint != ema.fingerprint
    top1 = 100 * (ema.predictions == ema.targets).mean()
    assert top1 == pytest.approx(last_metrics(digits_checkpoint)['eval_ema_top1'], abs=.3)


def test_training_split_and_images_of_other_classes(digits_checkpoint, tmp_path):
    assert main(['evaluate', str(digits_checkpoint), '--output', str(tmp_path), '--split', 'train']) == 0
    assert len(load_outputs(tmp_path / 'outputs-train.npz').targets) == 1408
    assert main(['evaluate', str(digits_checkpoint), '--output', str(tmp_path), '--foreign', 'letters']) == 0
    foreign = load_outputs(tmp_path / 'outputs-letters.npz')
    assert foreign.logits.shape == (740, 10) and set(foreign.targets) == {-1}
    assert main(['evaluate', str(digits_checkpoint), '--output', str(tmp_path), '--foreign', 'letters',
                 '--split', 'train']) == 0
    assert len(load_outputs(tmp_path / 'outputs-letters-train.npz').targets) == 2368
    for flags in (['--foreign', ':nowhere'], ['--foreign', ''], ['--foreign', 'letters', '--dataset', 'digits'],
                  [str(tmp_path), '--foreign', 'letters']):
        assert main(['evaluate', str(digits_checkpoint), *flags, '--output', str(tmp_path / 'none')]) == 2
    assert not list((tmp_path / 'none').glob('*.npz'))


def test_weights_alone_need_the_models_name(digits_checkpoint, tmp_path, capsys):
    weights = torch.load(digits_checkpoint, weights_only=True)['state_dict']
    torch.save(weights, tmp_path / 'weights.pth')
    argv = ['evaluate', tmp_path / 'weights.pth', '--output', tmp_path, '--dataset', 'digits']
    assert '--model' in failure(capsys, *argv)
    model = ['--model', 'coded_resnext11_10x11d']
    assert main([*map(str, argv), *model, '--img-size', '8']) == 0
    err = capsys.readouterr().err
    assert 'taken for granted: 8 pixels (--img-size), mean 0.4914, 0.4822, 0.4465 (--mean)' in err
    one, other = load_outputs(tmp_path / 'outputs-validation.npz'), load_trained(digits_checkpoint)
    logits = torch.cat([other.model(images)[target >= 0] for images, target in other.images()]).numpy()
    assert np.mean(one.predictions == logits.argmax(1)) > .9, 'only the normalisation is another'
    config = [word for name in ('mean', 'std') for word in (f'--{name}', *map(str, other.config[name]))]
    assert main([*map(str, argv), *model, '--img-size', '8', *config]) == 0
    assert 'taken for granted' not in capsys.readouterr().err
    assert np.allclose(load_outputs(tmp_path / 'outputs-validation.npz').logits, logits, atol=1e-4)


@pytest.mark.parametrize('flag', ['--mean', '--std', '--model-kwargs'])
def test_a_checkpoint_of_a_run_knows_its_model_and_its_images(digits_checkpoint, tmp_path, capsys, flag):
    value = 'drop_rate=0.1' if flag == '--model-kwargs' else '0.5'
    assert f'{flag}: for weights of --model' in failure(
        capsys, 'evaluate', digits_checkpoint, flag, value, '--output', tmp_path)


def test_weights_of_a_model_with_other_arguments_need_them(tmp_path, capsys):
    model = timm.create_model('coded_resnext11_10x11d', num_active=(10, 4, 2))
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    argv = ['evaluate', tmp_path / 'weights.pth', '--output', tmp_path, '--dataset', 'digits', '--img-size', 8,
            '--model', 'coded_resnext11_10x11d']
    assert '--model-kwargs num_active=10,4,2' in failure(capsys, *argv)
    assert main([*map(str, argv), '--model-kwargs', 'num_active=10,4,2']) == 0
    assert load_outputs(tmp_path / 'outputs-validation.npz').codewords['layer3.0'].sum(1).tolist() == [2] * 10


@pytest.mark.parametrize('model, prefix, message', [
    ('resnext11_10x11d', '', 'holds the codewords of a coded model, --model resnext11_10x11d has no coded blocks'),
    ('coded_resnext29_10x11d', '', 'does not fit the model, as its own was made with other arguments: '),
    ('coded_resnext11_10x11d', 'module.module.', 'has no fc.weight, but module.'),
    ('coded_resnext11_10x11d:num_active=10,4,2', '', 'no --model coded_resnext11_10x11d:num_active=10,4,2'),
])
def test_what_does_not_fit_the_weights_is_told_shortly(tmp_path, capsys, model, prefix, message):
    weights = timm.create_model('coded_resnext11_10x11d').state_dict()
    torch.save({prefix + name: value for name, value in weights.items()}, tmp_path / 'weights.pth')
    found = failure(capsys, 'evaluate', tmp_path / 'weights.pth', '--model', model, '--dataset', 'digits')
    assert message in found and len(found) < 900


def test_an_extracted_network_is_no_checkpoint(digits_checkpoint, tmp_path, capsys):
    assert main(['extract', str(digits_checkpoint), '--classes', '3', '--repeats', '0', '--output',
                 str(tmp_path / 'three.pth')]) == 0
    capsys.readouterr()
    assert 'timm_coded.load_extracted' in failure(capsys, 'evaluate', tmp_path / 'three.pth')


def test_codewords_are_the_checkpoints_own(digits_checkpoint, tmp_path, caplog):
    """Without a look at where the scheme came from: its file may be gone, another default may have come."""
    state = torch.load(digits_checkpoint, weights_only=True)
    words = state['state_dict']['codewords_5of10']
    state['state_dict']['codewords_5of10'] = 1 - words
    state['args']['scheme_source'] = '/gone/scheme.txt'
    torch.save(state, tmp_path / 'other.pth.tar')
    model = load_trained(tmp_path / 'other.pth.tar').model
    assert torch.equal(model.codewords('layer2.0'), 1 - words) and not caplog.records


def test_wrong_input_is_told_in_one_line_before_anything_is_written(digits_checkpoint, tmp_path, capsys):
    run = ['--output', tmp_path / 'out']
    assert 'there is no checkpoint' in failure(capsys, 'evaluate', tmp_path / 'none.pth.tar', *run)
    (tmp_path / 'broken.pth.tar').write_bytes(digits_checkpoint.read_bytes()[:1000])
    assert 'cannot read the checkpoint' in failure(capsys, 'evaluate', tmp_path / 'broken.pth.tar', *run)
    state = torch.load(digits_checkpoint, weights_only=True)
    state['state_dict']['fc.weight'][3, 5] = float('nan')
    torch.save(state, tmp_path / 'nan.pth.tar')
    assert 'fc.weight in it is not finite' in failure(capsys, 'evaluate', tmp_path / 'nan.pth.tar', *run)
    stock = timm.create_model('resnext11_10x11d').state_dict()
    torch.save(stock, tmp_path / 'stock.pth')
    named = ['--dataset', 'digits', '--img-size', '8', *run]
    assert 'no coded blocks' in failure(
        capsys, 'evaluate', tmp_path / 'stock.pth', '--model', 'resnext11_10x11d', *named)
    assert 'no codewords' in failure(
        capsys, 'evaluate', tmp_path / 'stock.pth', '--model', 'coded_resnext11_10x11d', *named)
    assert 'no --model resnext' in failure(capsys, 'evaluate', tmp_path / 'stock.pth', '--model', 'resnext', *named)
    assert '37 classes' in failure(capsys, 'evaluate', digits_checkpoint, '--dataset', 'letters', *run)
    assert "'test'" in failure(capsys, 'evaluate', digits_checkpoint, '--split', 'test', *run)
    assert not (tmp_path / 'out' / 'outputs-validation.npz').exists()
    (tmp_path / 'file').write_text('')
    assert 'cannot write' in failure(capsys, 'evaluate', digits_checkpoint, '--output', tmp_path / 'file')


def test_a_pass_on_xla_is_one_graph_without_fallbacks(digits_checkpoint):
    pytest.importorskip('torch_xla')
    script = '''
import sys
from timm_coded.analysis.outputs import collect_outputs
from timm_coded.train.trained import load_trained
trained = load_trained(sys.argv[1], 'xla')
images = trained.images(batch_size=96)
before = trained.replica.compiles()[0]
outputs = collect_outputs(trained.model, images)
print(len(outputs.targets), len(images), trained.replica.compiles()[0] - before, trained.replica.fallbacks())
'''
    done = subprocess.run([sys.executable, '-c', script, digits_checkpoint], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ['389 5 1 []'], done.stderr


def test_files_are_whole_though_the_reader_of_the_tables_has_gone(digits_checkpoint, tmp_path):
    command = [sys.executable, '-m', 'timm_coded.cli', 'evaluate', str(digits_checkpoint), '--output', str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.wait(timeout=300) == 0
    assert json.loads((tmp_path / 'evaluate.json').read_text())['tables']['accuracy']['rows']
    assert load_outputs(tmp_path / 'outputs-validation.npz').logits.shape == (389, 10)
