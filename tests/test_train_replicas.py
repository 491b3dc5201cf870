import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from timm_coded.train import replicas
from timm_coded.train.errors import UserError

WITHOUT_XLA = "import sys; sys.modules['torch_xla'] = None\n"


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


def test_auto_takes_the_cpu_or_gpu_where_torch_xla_is_missing_and_xla_says_how_to_get_it():
    result = run_python(WITHOUT_XLA + (
        "from timm_coded.train import replicas, errors\n"
        "print(replicas.create('auto').device.type)\n"
        "try:\n    replicas.create('xla')\n"
        "except errors.UserError as error:\n    print(error)\n"))
    assert result.returncode == 0, result.stderr
    device, message = result.stdout.splitlines()
    assert device == ('cuda' if torch.cuda.is_available() else 'cpu')
    assert "pip install 'timm_coded[xla]'" in message


@pytest.mark.parametrize('chosen', [True, False])
def test_xla_says_which_device_it_took_and_does_not_warn_of_its_choice(chosen):
    pytest.importorskip('torch_xla')
    result = run_python(
        ("" if chosen else "import os; os.environ.pop('PJRT_DEVICE')\n")
        + "from timm_coded.train import replicas; print(replicas.create('auto').name)\n")
    assert result.stdout.strip() == f'XLA:{os.environ["PJRT_DEVICE"]}'
    assert 'WARNING' not in result.stderr


@pytest.mark.parametrize('device', ['xla', 'cpu'])
def test_cache_of_compiled_graphs_is_refused_where_it_would_not_help(device):
    if device == 'xla':
        pytest.importorskip('torch_xla')
    result = run_python(
        "from timm_coded.train import replicas, errors\n"
        f"try:\n    replicas.create('{device}', '/no/such/folder')\n"
        "except errors.UserError as error:\n    print(error)\n")
    assert result.stdout.startswith('--xla-cache is for TPUs')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_missing_gpu_is_an_error():
    with pytest.raises(UserError, match='no GPU'):
        replicas.create('cuda')


def test_seed_repeats_all_host_random_numbers_and_differs_by_epoch():
    replica = replicas.create('cpu')

    def draw(*entropy):
        replica.seed(*entropy)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(42, 0) == draw(42, 0)
    assert len({draw(42, 0), draw(42, 1), draw(43, 0), draw(0, 42)}) == 4


def test_xla_seed_reaches_the_device():
    pytest.importorskip('torch_xla')
    result = run_python(
        "import torch; from timm_coded.train import replicas\n"
        "replica = replicas.create('xla')\n"
        "for entropy in ((42, 0), (42, 0), (42, 1)):\n"
        "    replica.seed(*entropy)\n"
        "    print(torch.rand(4, device=replica.device).tolist())\n")
    first, again, other = result.stdout.splitlines()
    assert first == again != other
