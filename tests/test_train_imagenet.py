"""A dry run of the ImageNet recipe on XLA: its network, 1000 classes, 160 and 224 px, accumulation, stop, resume."""
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from image_folder import make_image_folder
from run_process import same
from test_train_run import states

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def tree(tmp_path_factory) -> Path:
    """JPEG files of four of ImageNet's classes, in its folders."""
    pytest.importorskip('torch_xla')
    root = tmp_path_factory.mktemp('imagenet')
    make_image_folder(root / 'train', {f'n{number:08}': 3 for number in range(4)}, size=(200, 180))
    make_image_folder(root / 'val', {f'n{number:08}': 2 for number in range(4)}, size=(200, 180))
    return root


def train(tree: Path, output: Path, *argv: str) -> subprocess.CompletedProcess:
    """Two epochs of three steps of 2 x 2 images by configs/imagenet.yaml."""
    command = [
        sys.executable, str(ROOT / 'train_xla.py'), str(tree), '--config', str(ROOT / 'configs' / 'imagenet.yaml'),
        '--batch-size', '2', '--global-batch-size', '4', '--epochs', '2', '--warmup-epochs', '1',
        '--cooldown-epochs', '0', '--workers', '0', '--log-interval', '1', '--device', 'xla',
        '--output', str(output), '--resume', 'auto', *argv,
    ]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'PJRT_DEVICE': 'CPU'})


@pytest.fixture(scope='module')
def stopped(tree, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a run that was stopped in its first epoch and resumed, and what its second session printed."""
    output = tmp_path_factory.mktemp('stopped')
    first = train(tree, output, '--max-hours', '0.0001')
    assert first.returncode == 75, first.stderr
    assert 'stopped after 1 steps of epoch 0' in first.stderr
    second = train(tree, output)
    assert second.returncode == 0, second.stderr
    return output / 'imagenet', second.stdout


def test_imagenet_recipe_trains_evaluates_stops_and_resumes_on_xla(stopped):
    folder, log = stopped
    assert '2 x 2 images a replica make a step of 4' in log
    assert f'resumed after 1 steps of epoch 0 from {folder / "recovery-0-1.pth.tar"}' in log
    rows = list(csv.DictReader((folder / 'summary.csv').read_text().splitlines()))
    assert [row['epoch'] for row in rows] == ['0', '1']
    assert all(float(row['train_loss']) > 0 and float(row['train_coding_loss']) > 0 for row in rows)
    assert sum(key.startswith('eval_decoder_') for key in rows[0]) == 9


def test_imagenet_recipe_compiles_two_training_graphs_and_one_of_evaluation(stopped):
    _, log = stopped
    lines = [line for line in log.splitlines() if 'step' in line and ' took' in line]
    compiling = [(line.split(' took')[0], line.split('compile ')[1]) for line in lines]
    assert compiling == [
        ('epoch 0, training step 2', '2 graphs'),  # the gradients of a micro-batch, and those with the update
        ('epoch 0, evaluation step 1', '1 graph'),
    ]
    assert 'WARNING' not in log


@pytest.mark.slow
def test_imagenet_recipe_stopped_and_resumed_equals_an_uninterrupted_run(tree, stopped, tmp_path):
    whole = train(tree, tmp_path)
    assert whole.returncode == 0, whole.stderr
    folder, _ = stopped
    assert same(states(folder), states(tmp_path / 'imagenet'))
    assert (folder / 'summary.csv').read_text() == (tmp_path / 'imagenet' / 'summary.csv').read_text()
