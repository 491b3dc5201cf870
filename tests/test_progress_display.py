"""Bars show where they can be written over, a terminal or a notebook, and leave no garbage in files and pipes."""
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import nbformat
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
BARS = [(SEARCH, '[###############'), (BATCHES, 'the batches'), (TRAINING, '[#####...............] 1/4')]


def shown(received: str) -> str:
    """What stands on a terminal's lines in the end, as carriage returns have it."""
    lines = []
    for line in received.replace('\r\n', '\n').split('\n'):
        cells = []
        for part in line.split('\r'):
            cells[:len(part)] = part
        lines.append(''.join(cells).rstrip())
    return '\n'.join(lines).strip()


def command() -> list[str]:
    return [sys.executable, '-c', ''.join(script for script, _ in BARS)]


def test_pipe_receives_no_bar():
    done = subprocess.run(command(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == '', done.stderr
    assert 'step 4/4' in done.stdout and '\r' not in done.stdout and '\033' not in done.stdout
    assert not any(bar in done.stdout for _, bar in BARS[:2])


def test_terminal_shows_bars_that_vanish():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    with subprocess.Popen(command(), stdout=slave, stderr=slave) as process:
        os.close(slave)
        received = b''
        try:
            while part := os.read(master, 4096):
                received += part
        except OSError:  # how Linux tells that the other side is closed
            pass
    os.close(master)
    text = received.decode()
    assert process.returncode == 0, text
    for _, bar in BARS:
        assert bar in text and bar not in shown(text)
    assert 'label' not in shown(text) and shown(text).endswith('done')


def test_notebook_shows_bars():
    cells = [nbformat.v4.new_code_cell(script) for script, _ in BARS]
    NotebookClient(notebook := nbformat.v4.new_notebook(cells=cells), timeout=300, kernel_name='python3').execute()
    for cell, (_, bar) in zip(notebook.cells, BARS):
        text = ''.join(output['text'] for output in cell.outputs)
        assert bar in text and '\r' in text and '\033' not in text
