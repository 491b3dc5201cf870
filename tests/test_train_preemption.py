"""A run that is stopped or killed, and goes on, ends as if it had never stopped: bit for bit."""
import os
import random
import signal
import time
from pathlib import Path

import pytest
from run_process import ROOT, SMALL, Run, assert_same_run, complete

pytestmark = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='finds the processes of a run in /proc')
pytest.importorskip('sklearn')
ALONE = [*SMALL, '--batch-size', '32']
PAIR = [*SMALL, '--batch-size', '16', '--replicas', '2']


@pytest.fixture(scope='module')
def wholes(tmp_path_factory):
    """Runs that nobody disturbed, by their flags."""
    ended = {}

    def get(flags: list[str]) -> Path:
        if tuple(flags) not in ended:
            output = tmp_path_factory.mktemp('whole')
            complete(*flags, '--output', output, '--experiment', 'run')
            ended[tuple(flags)] = output / 'run'
        return ended[tuple(flags)]
    return get


def in_sessions(output: Path, flags: list, stops: list[tuple[int, str]]) -> Path:
    """A run stopped as it asks for the n-th time whether it has to, each in a session of its own."""
    argv = [*flags, '--output', output, '--experiment', 'run', '--resume', 'auto']
    for count, place in stops:
        run = complete(*argv, fault=('stop', count), status=75)
        assert f'stopped after {place} (' in run.stderr and '--resume auto' in run.stderr
    complete(*argv)
    return output / 'run'


# one question after each of the 22 steps, of the 13 batches of both evaluations, and at the epoch's end
def test_one_replica_stopped_in_mid_epoch_at_the_last_step_in_evaluation_and_at_the_end(wholes, tmp_path):
    stops = [(5, '5 steps of epoch 0'), (17, '22 steps of epoch 0'), (20, '22 steps of epoch 0'), (27, 'epoch 0')]
    assert_same_run(in_sessions(tmp_path, ALONE, stops), wholes(ALONE))


# every eighth time they vote, and read the vote before
@pytest.mark.slow
def test_two_replicas_with_two_workers_each_stopped_in_mid_epoch_and_in_evaluation(wholes, tmp_path):
    stops = [(8, '16 steps of epoch 0'), (7, '22 steps of epoch 0')]
    flags = [*PAIR, '--workers', 2]
    assert_same_run(in_sessions(tmp_path, flags, stops), wholes(PAIR))


@pytest.mark.slow
def test_xla_with_two_workers_stopped_in_mid_epoch_in_evaluation_and_at_the_end(tmp_path):
    pytest.importorskip('torch_xla')
    flags = [*SMALL, '--batch-size', '64', '--device', 'xla', '--workers', '2', '--output', tmp_path]
    run = complete(*flags, fault=('sessions', 5, 20, 15), seconds=500)
    assert [run.stderr.count(f'stopped after {place} (') for place in ('5 steps of epoch 0', '22 steps of epoch 0',
                                                                      'epoch 0')] == [1, 1, 1], run.stderr
    assert_same_run(tmp_path / 'parts', tmp_path / 'whole')


@pytest.mark.slow
@pytest.mark.parametrize('flags, stops', [
    (['--batch-size', '32'], [(5, '5 steps of epoch 0'), (30, '22 steps of epoch 0')]),
    (['--batch-size', '16', '--replicas', '2'], [(8, '16 steps of epoch 0'), (7, '22 steps of epoch 0')]),
])
def test_xla_with_each_session_in_a_process_of_its_own(wholes, tmp_path, flags, stops):
    pytest.importorskip('torch_xla')
    flags = [*SMALL, '--device', 'xla', *flags]
    assert_same_run(in_sessions(tmp_path, flags, stops), wholes(flags))


@pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.slow)])
def test_images_of_the_steps_that_are_done_are_not_read_again(tmp_path, workers):
    argv = [
        *ALONE, '--epochs', 1, '--output', tmp_path, '--experiment', 'run', '--resume', 'auto', '--workers', workers]
    complete(*argv, fault=('stop', 15), status=75)
    complete(*argv, fault=('count_reads', tmp_path / 'log'))
    reads = (tmp_path / 'log').read_text().split()
    assert (reads.count('1408'), reads.count('389')) == (7 * 64, 2 * 389)


# a terminal's and many a scheduler's signals reach all processes; at 'images to train' the workers are yet to start
@pytest.mark.parametrize('flags, workers, number, send, line', [
    (ALONE, 0, signal.SIGTERM, os.kill, '| step 2/22'),
    pytest.param(ALONE, 2, signal.SIGINT, os.killpg, 'images to train', marks=pytest.mark.slow),
    pytest.param(PAIR, 2, signal.SIGINT, os.killpg, '| step 2/22', marks=pytest.mark.slow),
    pytest.param(PAIR, 2, signal.SIGTERM, os.killpg, '| step 2/22', marks=pytest.mark.slow),
], ids=['term', 'int-workers', 'int-replicas', 'term-replicas'])
def test_signal_stops_in_seconds_with_a_checkpoint_and_the_run_goes_on(
        wholes, tmp_path, flags, workers, number, send, line):
    argv = [*flags, '--workers', workers, '--output', tmp_path, '--experiment', 'run', '--resume', 'auto']
    with Run(*argv) as run:
        run.wait_for(line)
        send(run.pid, number)
        sent = time.time()
        assert run.end() == 75, run.stderr
        assert time.time() - sent < 30
    recovery, = (tmp_path / 'run').glob('recovery-0-*')
    assert f'({number.name}), all of which is in {recovery}: the same command with --resume auto' in run.stderr
    assert complete(*argv).resumed() > (0, 0)
    assert_same_run(tmp_path / 'run', wholes(flags))


@pytest.mark.parametrize('flags', [
    [*ALONE, '--workers', '2'],
    pytest.param([*PAIR, '--workers', '2'], marks=pytest.mark.slow),
], ids=['1', '2'])
def test_second_interrupt_ends_at_once(tmp_path, flags):
    argv = [*flags, '--recovery-interval', 5, '--output', tmp_path, '--experiment', 'run']
    with Run(*argv, fault=('slow_write',)) as run:
        run.wait_for('| step 4/22')
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(1)
        os.killpg(run.pid, signal.SIGINT)
        sent = time.time()
        assert run.end() == -signal.SIGINT
        assert time.time() - sent < 15


def test_run_stops_by_itself_before_its_hours_are_over(tmp_path):
    argv = [*ALONE, '--epochs', 1000, '--output', tmp_path, '--experiment', 'run']
    with Run(*argv, '--max-hours', 10 / 3600) as run:
        run.wait_for('images to train')
        begun = time.time()  # its clock has started before
        assert run.end() == 75, run.stderr
    assert 'its time of --max-hours is over' in run.stderr
    newest = max((tmp_path / 'run').glob('*.tar'), key=os.path.getmtime)
    assert newest.stat().st_mtime < begun + 10
    assert run.place() > (0, 1), 'it did something'


def kill_and_resume(argv: list, kills: int, seed: int, longest: float) -> dict[str, int]:
    """SIGKILLs a run at random moments, each time starts it again, and lets it end at last.

    Args:
        kills: a fifth of them while it starts or compiles, the others after its first step of that session.
        longest: seconds from then on.

    Returns:
        How often what happened, and how many steps were done in vain.
    """
    rng = random.Random(seed)
    took = {'kills': 0, 'before a step': 0, 'steps lost': 0}
    reached = 0
    while took['kills'] < kills:
        with Run(*argv) as run:
            if rng.random() < 0.8:
                run.wait_for('| step ', 300)
            time.sleep(rng.uniform(0, longest))
            assert run.process.poll() is None, f'it had ended before kill {took["kills"] + 1}: {run.stderr}'
            os.kill(run.pid, signal.SIGKILL)
            run.end()
        took['kills'] += 1
        took['before a step'] += run.place() is None
        reached = count_steps(run, took, reached)
    with Run(*argv) as run:
        assert run.end(1500) == 0, run.stderr
    count_steps(run, took, reached)
    return took


def count_steps(run: Run, took: dict[str, int], reached: int) -> int:
    """Adds what the run had to do again of the steps that were `reached` before; gives what it reached itself."""
    said = any('images to train' in line for line in run.lines)
    if not said:  # killed before it told where it goes on
        return reached
    epoch, step = run.resumed() or (0, 0)
    took['steps lost'] += reached - (22 * epoch + step)
    epoch, step = run.place() or (epoch, step)
    return 22 * epoch + step


def test_run_killed_at_random_moments_ends_as_if_it_had_not_been(wholes, tmp_path):
    argv = [*ALONE, '--recovery-interval', 3, '--output', tmp_path, '--experiment', 'run', '--resume', 'auto']
    took = kill_and_resume(argv, 4, 0, 1.5)
    assert took['kills'] == 4
    assert_same_run(tmp_path / 'run', wholes(ALONE))


@pytest.mark.slow
def test_digits_recipe_killed_at_20_random_moments_ends_as_if_it_had_not_been(tmp_path):
    pytest.importorskip('torch_xla')
    # half of its epochs: most of the time is spent on compiling anew
    flags = ['--config', ROOT / 'configs' / 'digits.yaml', '--device', 'xla', '--epochs', 4, '--log-interval', 1]
    begun = time.time()
    complete(*flags, '--output', tmp_path, '--experiment', 'whole', seconds=1500)
    middle = time.time()
    argv = [*flags, '--recovery-interval', 5, '--output', tmp_path, '--experiment', 'run', '--resume', 'auto']
    took = kill_and_resume(argv, 20, 0, 5.0)
    print(f'{took}, of 88; {time.time() - middle:.0f} s, undisturbed {middle - begun:.0f} s')
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')
