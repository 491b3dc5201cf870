"""`--doctor` measures what it says it does, and concludes what its numbers say."""
import contextlib
import dataclasses
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from image_folder import make_image_folder

from timm_coded.models.packed_conv import PackedConv2d
from timm_coded.train import replicas
from timm_coded.train.args import parse_args
from timm_coded.train.data.digits import Digits
from timm_coded.train.doctor import doctor
from timm_coded.train.doctor.report import Report
from timm_coded.train.errors import UserError

ROOT = Path(__file__).parents[1]
SMALL = ['--model', 'coded_resnext11_10x11d', '--model-kwargs', 'channels=(16, 32, 64)', '--num-classes', '10',
         '--img-size', '8', '--batch-size', '16', '--workers', '0', '--reprob', '0.3', '--aa', 'rand-m7-mstd0.5-inc1']
DIGITS = ['--config', str(ROOT / 'configs' / 'digits.yaml'), *SMALL]


def examine(*argv: str) -> tuple[Report, list[str]]:
    """What the doctor finds on the CPU, and its lines."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        report = doctor(parse_args([*argv, '--device', 'cpu']))
    return report, said.getvalue().splitlines()


@pytest.fixture
def slow_device(monkeypatch):
    """Every micro-batch takes 40 ms at least."""
    monkeypatch.setattr(replicas.TorchReplica, 'end_step', lambda self: time.sleep(0.04))


def test_slow_device_bounds_the_run(slow_device):
    pytest.importorskip('sklearn')
    report, lines = examine(*DIGITS)
    assert (report.step.n, report.loader.n) == (20, 20)
    assert 100 < report.step.low <= report.step.rate <= report.step.high < 16 / 0.04
    assert report.bound == 'device' and report.loader.rate > report.step.rate
    assert report.epoch_seconds == pytest.approx(1408 / report.step.rate)
    assert any(line.startswith('the run will be bound by the device') for line in lines)
    assert lines[-1] == 'healthy' and len(lines) <= 25


def test_slow_images_bound_the_run(monkeypatch):
    pytest.importorskip('sklearn')
    read = Digits.__getitem__
    monkeypatch.setattr(Digits, '__getitem__', lambda self, index: (time.sleep(0.004), read(self, index))[1])
    report, lines = examine(*DIGITS)
    assert 50 < report.loader.low <= report.loader.rate <= report.loader.high < 1 / 0.004
    assert report.bound == 'input' and report.step.rate > report.loader.rate
    assert report.epoch_seconds == pytest.approx(1408 / report.loader.rate)
    assert any(line.startswith('the run will be bound by the input') for line in lines)
    assert any(line.startswith('try: --workers') or 'cores load too few' in line for line in lines)


def test_steps_of_accumulated_batches_are_timed_whole(slow_device):
    report, _ = examine(*SMALL, '--global-batch-size', '48')
    assert (report.micro_batches, report.step.n) == (3, 20)
    assert 100 < report.step.rate < 48 / (3 * 0.04)
    assert report.step.first_seconds > 3 * 0.04


def test_measured_step_is_the_runs_own_in_precision_and_packing(monkeypatch, slow_device):
    dtypes, models = set(), []
    create_model = timm.create_model

    def create_watched_model(*args, **kwargs):
        model = create_model(*args, **kwargs)
        models.append(model)
        model.conv1.register_forward_hook(lambda layer, inputs, output: dtypes.add((model.training, output.dtype)))
        return model

    monkeypatch.setattr(timm, 'create_model', create_watched_model)
    report, _ = examine(*SMALL, '--amp', '--pack-lanes', '128')
    assert (True, torch.bfloat16) in dtypes and (True, torch.float32) not in dtypes
    assert (report.amp_dtype, report.lanes) == ('bfloat16', 128)
    assert any(isinstance(layer, PackedConv2d) for layer in models[0].modules())


def test_without_images_only_the_training_is_measured(slow_device):
    report, lines = examine(*SMALL)
    assert report.step.n == 20 and report.parameters > 100_000
    assert (report.loader, report.workers, report.bound, report.epoch_seconds) == (None, 0, None, None)
    assert any(line.startswith('loading: not measured') for line in lines) and lines[-1] == 'healthy'


def test_worker_processes_load_a_folder_of_fewer_images_than_are_measured(tmp_path):
    for split in ('train', 'val'):
        make_image_folder(tmp_path / split, {'cat': 40, 'dog': 40})
    report, lines = examine(str(tmp_path), *SMALL, '--workers', '2', '--fast-decode')
    assert (report.train_images, report.workers, report.loader.n) == (80, 2, 20)
    assert report.loader.rate > 0 and report.loader.first_seconds > 0
    assert any(line.startswith('input: ') for line in lines)


def test_xla_compiles_in_the_first_steps_and_never_again():
    pytest.importorskip('torch_xla')
    code = (
        'from timm_coded.train.args import parse_args\n'
        'from timm_coded.train.doctor import doctor\n'
        f'report = doctor(parse_args({[*SMALL, "--device", "xla"]!r}))\n'
        'step = report.step\n'
        'print(step.n, step.compiles, step.recompilations, step.fallbacks, report.problems)\n'
        'assert 0 < step.compile_seconds < step.first_seconds\n'
        'assert step.first_seconds > 16 / step.rate\n')
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == '20 1 0 [] []'


@pytest.mark.parametrize('error', [
    torch.OutOfMemoryError('CUDA out of memory'),
    RuntimeError('RESOURCE_EXHAUSTED: HBM'),
])
def test_batch_that_does_not_fit_is_an_error_that_says_so(monkeypatch, error):
    def autocast(self, dtype):
        raise error

    monkeypatch.setattr(replicas.TorchReplica, 'autocast', autocast)
    with pytest.raises(UserError, match='--batch-size 16 needs more memory'):
        examine(*SMALL)


def test_torch_xla_of_another_torch_is_named_in_the_place_of_its_import_error(tmp_path):
    (tmp_path / 'torch_xla').mkdir()
    (tmp_path / 'torch_xla' / '__init__.py').write_text("raise ImportError('undefined symbol: _ZN5torch4lazy')")
    command = [sys.executable, str(ROOT / 'train_xla.py'), '--doctor', *SMALL, '--device', 'xla']
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert result.returncode == 2
    error, = result.stderr.splitlines()
    assert 'cannot import torch_xla: undefined symbol: _ZN5torch4lazy; is it of the same release as torch' in error


def test_machine_that_is_not_healthy_is_an_error_with_the_problem(monkeypatch, slow_device):
    monkeypatch.setattr(replicas.TorchReplica, 'fallbacks', lambda self: ['aten::nonzero'])
    with pytest.raises(UserError, match='the run would not be healthy: aten::nonzero ran on the host'):
        examine(*SMALL)


class SecondOfTwo(replicas.Alone):
    """Peers of a replica whose only other has the same tensors."""
    rank, world = 1, 2

    def gather(self, tensor):
        return torch.stack([tensor, tensor])


def test_only_the_first_replica_tells(monkeypatch, slow_device):
    monkeypatch.setattr(replicas.plain, 'find_processes', lambda backend: SecondOfTwo())
    report, lines = examine(*SMALL)
    assert lines == [] and report.replicas == 2


def test_report_is_plain_numbers(slow_device):
    report, _ = examine(*SMALL)
    assert dataclasses.asdict(report)['step']['n'] == 20


@pytest.mark.parametrize('argv, message', [
    (['--eval-only'], '--doctor looks at training'),
    (['--global-batch-size', '40'], '--batch-size may be'),
    (['/no/such/folder'], 'does not exist'),
])
def test_what_could_not_be_trained_is_an_error(argv, message):
    with pytest.raises(UserError, match=message):
        examine(*SMALL, *argv)
