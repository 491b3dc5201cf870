import os
from pathlib import Path

import pytest
import torch
from image_folder import make_image_folder

from timm_coded.train.args import parse_args
from timm_coded.train.run import run

# Before torch_xla is imported anywhere: its runtime reads this once.
os.environ.setdefault('PJRT_DEVICE', 'CPU')

# Tests side by side, and the processes that they start, share the cores: threads that wait for one another in turns
# take many times as long.
if workers := int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 0)):
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    os.environ.setdefault('OMP_NUM_THREADS', str(torch.get_num_threads()))


@pytest.fixture(scope='module')
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """16 square images to train, 10 wide ones to validate."""
    root = tmp_path_factory.mktemp('data')
    make_image_folder(root / 'train', {'cat': 8, 'dog': 8}, (32, 32))
    make_image_folder(root / 'val', {'cat': 5, 'dog': 5}, (40, 32))
    return root


@pytest.fixture(scope='session')
def digits_checkpoint(tmp_path_factory) -> Path:
    """A small coded network that has learnt the digits a little, with a moving average of its weights: on the CPU."""
    output = tmp_path_factory.mktemp('trained')
    config = str(Path(__file__).parent.parent / 'configs' / 'digits.yaml')
    run(parse_args([
        '--config', config, '--model', 'coded_resnext11_10x11d', '--epochs', '3', '--warmup-epochs', '1',
        '--device', 'cpu', '--model-ema', '--model-ema-decay', '0.9', '--output', str(output), '--experiment', 'digits',
    ]))
    return output / 'digits' / 'last.pth.tar'
