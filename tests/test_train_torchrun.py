"""Replicas that torchrun starts, and a run that goes on with another number of them."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from timm_coded.train.launch import STOPPED

ROOT = Path(__file__).parents[1]
SCRIPT = str(ROOT / 'train_xla.py')
SMALL = ['--config', str(ROOT / 'configs' / 'digits.yaml'), '--experiment', 'run', '--device', 'cpu', '--model',
         'coded_resnext11_10x11d', '--model-kwargs', 'channels=(16, 32, 64)', '--epochs', '2', '--warmup-epochs', '0']
TORCHRUN = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']


def start(*argv: str) -> subprocess.CompletedProcess:
    pytest.importorskip('sklearn')
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})


def test_torchrun_starts_the_replicas_and_replicas_beside_it_is_refused(tmp_path):
    command = [*TORCHRUN, SCRIPT, *SMALL, '--output', str(tmp_path)]
    refused = start(*command, '--replicas', '2')
    assert refused.returncode != 0 and '--replicas: torchrun has already started the processes' in refused.stderr
    assert not list(tmp_path.iterdir())
    result = start(*command)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('\nepoch 1: top-1') == 1 and '2 replicas' in result.stdout
    assert len((tmp_path / 'run' / 'summary.csv').read_text().splitlines()) == 3


@pytest.mark.slow
def test_run_stopped_in_mid_epoch_goes_on_with_another_number_of_replicas_and_says_so(tmp_path):
    command = [SCRIPT, *SMALL, '--output', str(tmp_path), '--batch-size', '16', '--global-batch-size', '64',
               '--resume', 'auto']
    stopped = start(*command, '--replicas', '2', '--max-hours', '1e-9')
    assert stopped.returncode == STOPPED, stopped.stderr
    folder = tmp_path / 'run'
    assert [path.name for path in folder.glob('*.pth.tar')] == ['recovery-0-16.pth.tar']
    result = start(*command)
    assert result.returncode == 0, result.stderr
    assert '4 x 16 images a replica make a step of 64' in result.stdout
    assert 'resumed after 16 steps of epoch 0' in result.stdout
    assert 'it had 2 replicas there' in result.stdout
    state = torch.load(folder / 'last.pth.tar', weights_only=True)['state_dict']
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())
