"""The whole ImageNet network trains on XLA: 1000 classes, 160 px, packed, one training and one evaluation graph."""
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from image_folder import make_image_folder

ROOT = Path(__file__).parents[1]


def test_coded_resnext50_trains_at_160_px_with_1000_classes_on_xla(tmp_path):
    pytest.importorskip('torch_xla')
    classes = {f'n{number:08}': 2 for number in range(4)}
    make_image_folder(tmp_path / 'train', classes, size=(200, 180))
    make_image_folder(tmp_path / 'val', classes, size=(200, 180))
    command = [
        sys.executable, str(ROOT / 'train_xla.py'), str(tmp_path), '--device', 'xla',
        '--output', str(tmp_path / 'output'), '--experiment', 'run',
        '--model', 'coded_resnext50_32x4d', '--num-classes', '1000', '--mu', '2', '--batch-size', '4',
        '--img-size', '160', '--eval-img-size', '160',
        '--aa', 'rand-m7-mstd0.5-inc1', '--reprob', '0.4', '--recount', '3',
        '--epochs', '1', '--warmup-epochs', '0', '--workers', '0', '--log-interval', '1',
    ]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'PJRT_DEVICE': 'CPU'})
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    compiling = [line.split(' took')[0] for line in lines if 'to compile' in line and 'step' in line]
    assert compiling == ['epoch 0, training step 1', 'epoch 0, evaluation step 1']
    assert 'WARNING' not in result.stdout
    row, = csv.DictReader((tmp_path / 'output' / 'run' / 'summary.csv').read_text().splitlines())
    assert float(row['train_loss']) > 0 and float(row['train_coding_loss']) > 0
    assert sum(key.startswith('eval_decoder_') for key in row) == 9
