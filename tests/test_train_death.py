"""Whatever dies in a run, the run ends soon, says what the cause was, and leaves no process behind."""
import os
import signal
import time

import pytest
from image_folder import make_image_folder, truncate
from run_process import SMALL, Run

pytestmark = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='finds the processes of a run in /proc')
pytest.importorskip('sklearn')
LONG = [*SMALL, '--epochs', '1000', '--workers', '2']
REPLICAS = {'1': ['--batch-size', '32'], '2': ['--batch-size', '16', '--replicas', '2']}


@pytest.fixture(params=['1', pytest.param('2', marks=pytest.mark.slow)])
def flags(request, tmp_path):
    """Of a long run of 1 or 2 replicas, each with 2 loader workers."""
    return [*LONG, *REPLICAS[request.param], '--output', tmp_path, '--experiment', 'run']


@pytest.fixture
def pair(tmp_path):
    return [*LONG, *REPLICAS['2'], '--output', tmp_path, '--experiment', 'run']


def test_nothing_outlives_the_launching_process(flags):
    with Run(*flags) as run:
        run.wait_for('| step 2/22')
        assert len(run.processes()) >= 5
        os.kill(run.pid, signal.SIGKILL)
        assert run.end(15) == -signal.SIGKILL


def assert_ends(run: Run, status: int, *expected: str) -> None:
    """Within a minute, with nothing left, and with this text."""
    started = time.time()
    assert run.end(60) == status, run.stderr
    assert time.time() - started < 60
    assert all(text in run.stderr for text in expected), run.stderr


def test_killed_loader_worker_ends_the_run_with_the_cause(flags):
    with Run(*flags) as run:
        run.wait_for('| step 2/22')
        os.kill(run.workers()[-1], signal.SIGKILL)
        assert_ends(run, 2, 'a loader process died', '--workers')


@pytest.mark.parametrize('rank', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_replica_ends_the_run_with_the_cause(pair, rank):
    with Run(*pair) as run:
        run.wait_for('| step 2/22')
        os.kill(run.replicas()[rank], signal.SIGKILL)
        assert_ends(run, 2, f'replica {rank} was killed by SIGKILL', 'memory')


@pytest.mark.parametrize('fault, cause', [('end_thread', 'SystemExit'), ('thread_vanishes', 'ended without its last')])
def test_death_of_the_thread_that_loads_ahead_ends_the_run_with_the_cause(flags, fault, cause):
    rank = 1 if '--replicas' in flags else 0
    with Run(*flags, fault=(fault, rank)) as run:
        run.wait_for('images to train')
        assert_ends(run, 1, f'replica {rank} failed', 'the thread that loads ahead', cause)


def test_image_that_one_of_two_replicas_cannot_read_ends_both(tmp_path):
    make_image_folder(tmp_path / 'train', {'cat': 20, 'dog': 20})
    make_image_folder(tmp_path / 'val', {'cat': 4, 'dog': 4})
    broken = truncate(tmp_path / 'train' / 'dog' / '7.jpg')
    flags = ['--model', 'resnet10t', '--img-size', '32', '--batch-size', '4', '--workers', '2', '--device', 'cpu']
    with Run(tmp_path, *flags, '--replicas', 2, '--output', tmp_path / 'output') as run:
        run.wait_for('images to train')
        assert_ends(run, 2, f'error: cannot read the image {broken}: ')
    assert run.stderr.count('\n') == 1
