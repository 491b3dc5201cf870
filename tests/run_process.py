"""Runs of train_xla.py in processes of their own, watched, hurt and compared."""
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
MARK = 'TIMM_CODED_TEST_RUN'
SMALL = ['--config', str(ROOT / 'configs' / 'digits.yaml'), '--model', 'coded_resnext11_10x11d',
         '--model-kwargs', 'channels=(16, 32, 64)', '--reprob', '0.3', '--model-ema', '--epochs', '2',
         '--global-batch-size', '64', '--log-interval', '1', '--device', 'cpu']
STEP = re.compile(r'epoch (\d+)/\d+ \| step (\d+)/')
RESUMED = re.compile(r'resumed after (?:(\d+) steps of )?epoch (\d+) from')


class Run:
    """A run that was started; `fault` names one of faulty_train.py, with its arguments."""

    def __init__(self, *argv: object, fault: tuple = ()):
        script = [ROOT / 'tests' / 'faulty_train.py', *fault, '--'] if fault else [ROOT / 'train_xla.py']
        self.mark = uuid.uuid4().hex
        self.started = time.time()
        self.process = subprocess.Popen(
            [sys.executable, *map(str, script), *map(str, argv)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1', MARK: self.mark})
        self.pid = self.process.pid
        self.lines, self.coming, self.errors = [], queue.Queue(), []
        self.readers = [threading.Thread(target=self.read_lines), threading.Thread(target=self.read_errors)]
        for reader in self.readers:
            reader.start()

    def __enter__(self) -> 'Run':
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing of it outlives the test."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()

    def read_lines(self) -> None:
        for line in self.process.stdout:
            self.coming.put(line.rstrip('\n'))
        self.coming.put(None)

    def read_errors(self) -> None:
        self.errors += self.process.stderr

    @property
    def stderr(self) -> str:
        return ''.join(self.errors)

    def wait_for(self, text: str, seconds: float = 120) -> str:
        """The first line from now on that has `text`."""
        deadline = time.time() + seconds
        while True:
            line = self.coming.get(timeout=max(0, deadline - time.time()))
            assert line is not None, f'it ended before {text!r}: {self.stderr}'
            self.lines.append(line)
            if text in line:
                return line

    def end(self, seconds: float = 120) -> int:
        """Waits for the end, all processes included; gives the exit status."""
        deadline = time.time() + seconds
        status = self.process.wait(seconds)
        while left := self.processes():
            assert time.time() < deadline, f'still there: {[command(pid) for pid in left]}'
            time.sleep(0.1)
        for reader in self.readers:
            reader.join()
        while (line := self.coming.get()) is not None:
            self.lines.append(line)
        return status

    def processes(self) -> list[int]:
        """All that live of this run: itself, replicas, loader workers, the servers they are forked from."""
        return [pid for pid in pids() if f'{MARK}={self.mark}' in read(pid, 'environ') and not is_zombie(pid)]

    def replicas(self) -> list[int]:
        """By rank."""
        return sorted(pid for pid in self.processes() if parent(pid) == self.pid and 'spawn_main' in command(pid))

    def workers(self) -> list[int]:
        forked = [pid for pid in self.processes() if 'forkserver' in command(pid)]
        return [pid for pid in forked if parent(pid) in forked]

    def place(self) -> tuple[int, int] | None:
        """Epoch and step of the last step that it has told of."""
        found = [match for line in self.lines if (match := STEP.search(line))]
        return (int(found[-1][1]), int(found[-1][2])) if found else None

    def resumed(self) -> tuple[int, int] | None:
        """Epoch and step that it went on from."""
        found = [match for line in self.lines if (match := RESUMED.search(line))]
        if not found:
            return None
        step, epoch = found[0].groups()
        return (int(epoch), int(step)) if step else (int(epoch) + 1, 0)


def complete(*argv: object, fault: tuple = (), status: int = 0, seconds: float = 300) -> Run:
    """A run that was left alone until it ended, with this exit status."""
    with Run(*argv, fault=fault) as run:
        assert run.end(seconds) == status, run.stderr
    return run


def pids() -> list[int]:
    return [int(entry) for entry in os.listdir('/proc') if entry.isdigit()]


def read(pid: int, name: str) -> str:
    try:
        return Path(f'/proc/{pid}/{name}').read_bytes().decode(errors='replace')
    except OSError:
        return ''


def command(pid: int) -> str:
    return read(pid, 'cmdline').replace('\0', ' ')


def parent(pid: int) -> int:
    return int((read(pid, 'stat').rpartition(')')[2].split() or '00')[1])


def is_zombie(pid: int) -> bool:
    return read(pid, 'stat').rpartition(')')[2].split()[:1] in ([], ['Z'])


def same(a, b) -> bool:
    """Whether two checkpoints hold the same, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same_run(folder: Path, whole: Path) -> None:
    """Of two runs that have ended: the same checkpoints, each with the same in it, and the same summary."""
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in (name for name in names if name.endswith('.tar')):
        ours, theirs = (torch.load(path / name, weights_only=True) for path in (folder, whole))
        for key in ('epoch', 'step', 'metric', 'best', 'history', 'state_dict', 'state_dict_ema', 'optimizer'):
            assert (key in ours) == (key in theirs) and same(ours.get(key), theirs.get(key)), (name, key)
    assert (folder / 'summary.csv').read_bytes() == (whole / 'summary.csv').read_bytes()
