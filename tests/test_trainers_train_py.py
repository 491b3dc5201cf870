"""timm's own train.py, which no package of timm has: as it is, and with the three lines of docs/trainers.md.

TIMM_TRAIN_PY names the file; without it the one of the installed release is fetched from timm's repository.
"""
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import timm
import torch
from digit_folders import make_digit_folders

from timm_coded.models import early_decode
from timm_coded.train.data.digits import Digits

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / 'docs' / 'trainers.md').read_text()
URL = f'https://raw.githubusercontent.com/huggingface/pytorch-image-models/v{timm.__version__}/train.py'

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def train_py() -> str:
    if 'TIMM_TRAIN_PY' in os.environ:
        return Path(os.environ['TIMM_TRAIN_PY']).read_text()
    try:
        with urllib.request.urlopen(URL, timeout=30) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        pytest.skip(f'TIMM_TRAIN_PY is not set, and {URL} cannot be fetched: {error}')


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> Path:
    return make_digit_folders(tmp_path_factory.mktemp('digits'))


def patched(source: str) -> str:
    """train.py with the changes of the page's diff, each of whose places has to be there once."""
    diff, = re.findall(r'```diff\n(.*?)```', PAGE, re.DOTALL)
    for hunk in diff.split('@@\n'):
        lines = hunk.splitlines()
        before, after = ('\n'.join(line[1:] for line in lines if line[:1] in (' ', sign)) for sign in '-+')
        assert source.count(before) == 1
        source = source.replace(before, after)
    return source


def run_train(source: str, folders: Path, output: Path, *more: str) -> Path:
    """Runs the page's command with this train.py; gives the checkpoint."""
    command, = re.findall(r'^python timm/train.py (.*?[^\\])$', PAGE, re.MULTILINE | re.DOTALL)
    words = shlex.split(command.replace('\\\n', '').replace('DATA_DIR', str(folders)))
    script = output / 'train.py'
    script.write_text(source)
    subprocess.run([sys.executable, str(script), *words, '--output', str(output), '--experiment', 'run', *more],
                   check=True, timeout=1200, cwd=output)
    return output / 'run' / 'last.pth.tar'


@torch.no_grad()
def accuracies(checkpoint: Path) -> dict[str, float]:
    """Top-1 of the network and of the early decoders on the images held out, in percent."""
    model = timm.create_model('coded_resnext11_10x11d', checkpoint_path=str(checkpoint)).eval()
    digits = Digits('validation')
    pixels = torch.tensor(digits.pixels, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 255
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(3, 1, 1) for name in ('mean', 'std'))
    logits, energies = model.forward_energies((pixels - mean) / std)
    guesses = {'top1': logits.argmax(1)}
    guesses |= {block: early_decode(energy, model.codewords(block))
                for block, energy in zip(model.coded_blocks, energies)}
    target = torch.tensor(digits.targets)
    return {name: 100 * (guess == target).float().mean().item() for name, guess in guesses.items()}


def test_as_it_is_the_network_learns_and_its_early_decoders_do_not(train_py, folders, tmp_path):
    found = accuracies(run_train(train_py, folders, tmp_path))
    print(found)
    assert found.pop('top1') > 70
    assert max(found.values()) < 40


def test_with_three_lines_the_early_decoders_learn_too(train_py, folders, tmp_path):
    checkpoint = run_train(patched(train_py), folders, tmp_path, '--model-ema', '--model-ema-decay', '0.9')
    found = accuracies(checkpoint)
    print(found)
    assert min(found.values()) > 70
