"""Two processes that average their gradients train as one with the whole batch, where `forward` gives the energies."""
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddp_work import make_batches, make_model, train
from torch import nn

from timm_coded import CodingLoss


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """A folder with the state dicts of both processes after their steps."""
    folder = tmp_path_factory.mktemp('ddp')
    script = Path(__file__).parent / 'ddp_work.py'
    processes = [subprocess.Popen([sys.executable, str(script), str(rank), str(folder)]) for rank in range(2)]
    try:
        assert [process.wait(300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return folder


@pytest.mark.parametrize('how', ['task', 'wrapped'])
def test_two_processes_train_as_one_with_the_whole_batch(how, trained):
    model = make_model()
    criterion = CodingLoss(nn.CrossEntropyLoss(), model, mu=6.0)
    alone = train(model, lambda images, target: criterion(model.forward_energies(images), target), make_batches())
    for rank in range(2):
        torch.testing.assert_close(torch.load(trained / f'{how}-{rank}.pth'), alone, rtol=1e-9, atol=1e-12)


def test_energies_past_the_wrapper_leave_the_processes_on_their_own(trained):
    first, second = (torch.load(trained / f'past-{rank}.pth')['fc.weight'] for rank in range(2))
    assert (first - second).abs().max() > 1e-3
