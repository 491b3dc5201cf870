"""The loop end to end, on real images and small models."""
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from image_folder import make_image_folder, truncate
from run_process import same

from timm_coded.train.args import parse_args
from timm_coded.train.errors import UserError
from timm_coded.train.run import run

ROOT = Path(__file__).parents[1]
SMALL = ['--config', str(ROOT / 'configs' / 'digits.yaml'), '--experiment', 'run',
         '--model', 'coded_resnext11_10x11d', '--model-kwargs', 'channels=(16, 32, 64)', '--reprob', '0.3']


def train(output: Path, device: str, *argv: str) -> tuple[Path, str]:
    """Runs train_xla.py; gives the run's folder and what was printed."""
    command = [sys.executable, str(ROOT / 'train_xla.py'), *SMALL, '--device', device, '--output', str(output), *argv]
    # a process of its own: torch_xla must be there before the first backward pass
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert result.returncode == 0, result.stderr
    return output / 'run', result.stdout


def states(folder: Path) -> dict:
    state = torch.load(folder / 'last.pth.tar', weights_only=True)
    return {key: state[key] for key in ('epoch', 'step', 'state_dict', 'optimizer', 'metric', 'best', 'history')}


@pytest.fixture(scope='module', params=['cpu', 'xla'])
def trained(request, tmp_path_factory) -> tuple[str, Path, str]:
    """A run of four epochs with changing learning rates: device, folder and what it printed."""
    pytest.importorskip('sklearn')
    if request.param == 'xla':
        pytest.importorskip('torch_xla')
    output = tmp_path_factory.mktemp(request.param)
    return request.param, *train(output, request.param, '--epochs', '4', '--checkpoint-hist', '4')


def test_run_learns_and_reports_every_metric(trained):
    _, folder, log = trained
    rows = list(csv.DictReader((folder / 'summary.csv').read_text().splitlines()))
    assert [row['epoch'] for row in rows] == ['0', '1', '2', '3']
    for name in ('train_loss', 'train_coding_loss', 'eval_loss', 'eval_top1', 'eval_top5', 'eval_coding_loss',
                 'eval_coding_loss_layer3.0', 'eval_decoder_layer2.0', 'eval_decoder_layer3.0', 'lr'):
        assert float(rows[-1][name]) >= 0, name
    assert float(rows[-1]['eval_top1']) > 50 > float(rows[0]['eval_top1'])
    assert float(rows[-1]['train_loss']) < float(rows[0]['train_loss'])
    assert len({row['lr'] for row in rows}) == 4
    assert 'best epoch' in log and '--eval-only --resume' in log


def test_nothing_is_compiled_after_the_first_steps_and_nothing_runs_on_the_host(trained):
    device, _, log = trained
    assert 'WARNING' not in log
    compiling = [line.split(' took')[0] for line in log.splitlines() if 'to compile' in line and 'step' in line]
    assert compiling == (['epoch 0, training step 1', 'epoch 0, evaluation step 1'] if device == 'xla' else [])


def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(trained, tmp_path):
    device, whole, _ = trained
    folder = tmp_path / 'run'
    folder.mkdir()
    shutil.copy(whole / 'checkpoint-1.pth.tar', folder)
    rows = (whole / 'summary.csv').read_text()
    (folder / 'checkpoint-2.pth.tar').write_bytes(b'half a checkpoint')
    (folder / 'summary.csv').write_text(rows[:len(rows) // 2])
    _, log = train(tmp_path, device, '--epochs', '4', '--resume', 'auto', '--workers', '2')
    assert 'cannot read the checkpoint' in log and 'resumed after epoch 1 from' in log
    assert same(states(folder), states(whole))
    assert (folder / 'summary.csv').read_text() == rows


def test_checkpoint_is_read_by_timm_where_torch_xla_is_not_installed(trained):
    _, folder, _ = trained
    code = (
        "import sys; sys.modules['torch_xla'] = None\n"
        "import timm, torch, timm_coded\n"
        f"path = {str(folder / 'model_best.pth.tar')!r}\n"
        "kwargs = dict(num_classes=10, channels=(16, 32, 64), checkpoint_path=path)\n"
        "model = timm.create_model('coded_resnext11_10x11d', **kwargs)\n"
        "torch.manual_seed(0)\n"
        "print(model.eval()(torch.rand(2, 3, 8, 8)).argmax(1).tolist())\n"
        "assert all(tensor.device.type == 'cpu' for tensor in torch.load(path)['state_dict'].values())\n")
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_eval_only_repeats_the_best_epochs_metrics_on_the_cpu(trained, capsys):
    _, folder, _ = trained
    best = torch.load(folder / 'model_best.pth.tar', weights_only=True)['best']
    run(parse_args(['--config', str(folder / 'args.yaml'), '--device', 'cpu', '--eval-only',
                    '--resume', str(folder / 'model_best.pth.tar')]))
    printed = capsys.readouterr().out
    assert f'top-1 {best["top1"]:.2f} %' in printed and f'layer3.0 {best["decoder_layer3.0"]:.2f} %' in printed
    assert os.listdir(folder.parent) == ['run'], 'no folder of its own'


def test_script_says_what_is_wrong_in_one_line(tmp_path):
    make_image_folder(tmp_path / 'train', {'cat': 6, 'dog': 6})
    make_image_folder(tmp_path / 'val', {'cat': 2, 'dog': 2})
    broken = truncate(tmp_path / 'val' / 'dog' / '1.jpg')
    command = [sys.executable, str(ROOT / 'train_xla.py'), str(tmp_path), '--device', 'cpu', '--model', 'resnet10t',
               '--img-size', '32', '--batch-size', '4', '--workers', '2', '--output', str(tmp_path / 'output')]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.count('\n') == 1
    assert result.stderr.startswith(f'train_xla.py: error: cannot read the image {broken}: ')


def test_checkpointing_of_activations_is_refused_on_xla(tmp_path):
    pytest.importorskip('torch_xla')
    command = [sys.executable, str(ROOT / 'train_xla.py'), *SMALL, '--device', 'xla', '--grad-checkpointing']
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2 and '--grad-checkpointing' in result.stderr


def test_num_classes_below_the_data_sets_is_an_error(capsys):
    pytest.importorskip('sklearn')
    with pytest.raises(UserError, match='--num-classes 9 is fewer than the 10'):
        run(parse_args([*SMALL, '--device', 'cpu', '--num-classes', '9']))


@pytest.mark.parametrize('argv, expected', [
    (['--model', 'coded_resnext11_10x11'], 'did you mean coded_resnext11_10x11d'),
    (['--model', 'resnet10t', '--model-kwargs'], '--model resnet10t has no coded blocks: leave out --mu, --drop-subnn'),
    (['--num-active', '10', '5'], 'num_active'),
    (['--initial-checkpoint', '/no/such.pth'], 'there is no --initial-checkpoint /no/such.pth'),
    (['--batch-size', '2000'], '1408 training images are not one batch of 2000'),
    (['--aa', 'nothing'], '--aa nothing'),
    (['--opt', 'nothing'], '--opt nothing'),
    (['--opt-eps', '1e-3'], '--opt sgd has no epsilon'),
    (['--scale', '1', '0.5'], '--scale takes two numbers'),
    (['--mean', '1', '2'], '--mean takes one number or three'),
    (['--xla-cache', 'graphs'], '--xla-cache is for TPUs, not for --device cpu'),
    (['--mixup', '0.2', '--mask-grads'], '--mask-grads needs one class for each image: leave out --mixup'),
    (['--global-batch-size', '100'], '100 is no multiple of 1 x --batch-size 64 .*may be 1, 2, 4, 5, 10, 20, 25'),
    (['--synthetic', '--dataset', 'digits'], '--synthetic takes no images: leave out --dataset digits'),
    (['--eval-only'], '--resume or --initial-checkpoint'),
])
def test_what_does_not_fit_is_named_before_anything_is_written(tmp_path, argv, expected):
    pytest.importorskip('sklearn')
    with pytest.raises(UserError, match=expected):
        run(parse_args([*SMALL, '--device', 'cpu', '--output', str(tmp_path), *argv]))
    assert not os.listdir(tmp_path)


def test_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoints_before_it(tmp_path):
    pytest.importorskip('sklearn')
    argv = [*SMALL, '--device', 'cpu', '--output', str(tmp_path), '--warmup-epochs', '1', '--warmup-lr', '0.01']
    with pytest.raises(UserError, match=r'loss.* is not finite in epoch 1, step \d+; .*go on from one of them'):
        run(parse_args([*argv, '--epochs', '3', '--lr', '1e30']))
    assert sorted(path.name for path in (tmp_path / 'run').glob('*.tar')) == [
        'checkpoint-0.pth.tar', 'last.pth.tar', 'model_best.pth.tar']
