"""Bars show where they can be written over, a terminal or a notebook, and leave no garbage in files and pipes."""
import os
import pty
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

SEARCH = '''
import sys, time
from timm_coded.codes.progress import ProgressBar
bar = ProgressBar()
bar.update('a long label', .5)
bar._next_time = 1e-9
bar.update('short', 1.)
bar.close()
'''
BATCHES = '''
import types, torch
from timm_coded.train.trained import Images
images = Images.__new__(Images)
images.batches, images.name = [(torch.zeros(1), torch.zeros(1))] * 3, 'the batches'
images.normalise, images.replica = (lambda x: x), types.SimpleNamespace(device='cpu')
for _ in images:
    pass
'''
TRAINING = '''
import torch
from timm_coded.train import replicas
from timm_coded.train.progress import Progress
from timm_coded.train.sums import Sums
replica = replicas.create('cpu')
progress, sums = Progress(replica, 1, 4, 8, 2), Sums(['loss'], replica)
for batch in progress.training(range(4), sums):
    sums.add(torch.tensor(8), {'loss': torch.tensor(16.)})
progress.say('done')
'''
BARS = [(SEARCH, '[###############'), (BATCHES, 'the batches'), (TRAINING, '1/4')]


def shown(received: str) -> str:
    """What stands on a terminal's lines in the end, as carriage returns have it."""
    lines = []
    for line in received.replace('\r\n', '\n').split('\n'):
        cells = []
        for part in line.split('\r'):
            cells[:len(part)] = part
        lines.append(''.join(cells).rstrip())
    return '\n'.join(lines).strip()


@pytest.mark.parametrize('script, bar', BARS)
def test_pipe_receives_no_bar(script, bar):
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '\r' not in done.stdout + done.stderr and '\033' not in done.stdout + done.stderr
    assert done.stderr == ''


@pytest.mark.parametrize('script, bar', BARS)
def test_terminal_shows_a_bar_that_vanishes(script, bar):
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, '-c', script], stdout=slave, stderr=slave, close_fds=True) as process:
        os.close(slave)
        received = b''
        try:
            while part := os.read(master, 4096):
                received += part
        except OSError:  # how Linux tells that the other side is closed
            pass
    os.close(master)
    assert process.returncode == 0, received
    text = received.decode()
    assert bar in text and '\r' in text
    assert bar not in shown(text) and 'label' not in shown(text)


def test_notebook_shows_bars():
    cells = [nbformat.v4.new_code_cell(script) for script, _ in BARS]
    NotebookClient(notebook := nbformat.v4.new_notebook(cells=cells), timeout=300, kernel_name='python3').execute()
    for cell, (_, bar) in zip(notebook.cells, BARS):
        text = ''.join(output['text'] for output in cell.outputs)
        assert bar in text and '\r' in text and '\033' not in text
