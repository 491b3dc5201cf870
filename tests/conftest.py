import os
from pathlib import Path

import pytest
import torch
from image_folder import make_image_folder

# Before torch_xla is imported anywhere: its runtime reads this once.
os.environ.setdefault('PJRT_DEVICE', 'CPU')


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
