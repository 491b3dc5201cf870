"""The example of docs/trainers.md with accelerate, as it stands there."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / 'docs' / 'trainers.md').read_text()


@pytest.fixture
def example(tmp_path) -> Path:
    block, = [block for block in re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL) if 'accelerate' in block]
    (tmp_path / 'example.py').write_text(block)
    return tmp_path / 'example.py'


def run(*command: str) -> tuple[float, float]:
    """The top-1 of the network and of the early decoder that the example prints, once."""
    # torch_xla is installed for other tests: accelerate would take its device
    environment = {**os.environ, 'USE_TORCH_XLA': 'false', 'ACCELERATE_USE_CPU': 'true', 'OMP_NUM_THREADS': '1'}
    finished = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=550)
    assert finished.returncode == 0, finished.stderr
    (top1, early), = re.findall(r'top-1 (\d+\.\d) %, early decoder of layer3.0 (\d+\.\d) %', finished.stdout)
    return float(top1), float(early)


def test_example_trains_the_network_and_its_early_decoder(example):
    assert min(run('-W', 'error', str(example))) > 80


@pytest.mark.slow
def test_example_in_two_processes(example):
    torchrun = ['-m', 'torch.distributed.run', '--nproc-per-node', '2', '--rdzv-backend', 'c10d', '--rdzv-endpoint',
                'localhost:0']
    assert min(run(*torchrun, str(example))) > 80
