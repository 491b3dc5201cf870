"""Checkpoints when the drive, the file or the process fails: the last good one is whole, the run goes on from it."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from run_process import SMALL, Run, assert_same_run, complete

from timm_coded.train.checkpoint import load

pytestmark = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='finds the processes of a run in /proc')
pytest.importorskip('sklearn')
FLAGS = [*SMALL, '--batch-size', '64', '--recovery-interval', '10', '--experiment', 'run']


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    output = tmp_path_factory.mktemp('whole')
    complete(*FLAGS, '--output', output)
    return output / 'run'


# an epoch writes two recovery checkpoints and one of its own, which gets the names of the best and the last; of the
# names the first is that of args.yaml's draft or of the summary
@pytest.mark.parametrize('faults', [
    pytest.param([('die_in_write', 1), ('die_in_write', 2), ('die_in_write', 3), ('die_before', 'replace', 1)],
                 marks=pytest.mark.slow),
    [('die_before', 'replace', 3), ('die_after', 'link', 1), ('die_after', 'replace', 4), ('die_after', 'link', 2)],
    pytest.param([('die_in_copy', 1), ('die_in_copy', 2), ('die_before', 'unlink', 1), ('die_before', 'unlink', 3)],
                 marks=pytest.mark.slow),
], ids=['write', 'names', 'copies'])
def test_run_killed_as_it_writes_goes_on_from_the_newest_whole_checkpoint(whole, tmp_path, faults):
    for fault in faults:
        complete(*FLAGS, '--output', tmp_path, '--resume', 'auto', fault=fault, status=-9)
        for path in (tmp_path / 'run').glob('*.tar'):
            load(path)
    complete(*FLAGS, '--output', tmp_path, '--resume', 'auto')
    assert_same_run(tmp_path / 'run', whole)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    """One bit of a weight."""
    with open(path, 'r+b') as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


@pytest.mark.parametrize('damage', [cut, empty, flip])
def test_damaged_newest_checkpoint_is_passed_over_with_its_reason(whole, tmp_path, damage):
    folder = shutil.copytree(whole, tmp_path / 'run')
    for path in (folder / 'last.pth.tar', folder / 'checkpoint-1.pth.tar'):
        shutil.copy(path, tmp_path / 'alone')  # no second name of another's file
        os.replace(tmp_path / 'alone', path)
    damage(folder / 'checkpoint-1.pth.tar')
    (folder / 'last.pth.tar').unlink()
    run = complete(*FLAGS, '--output', tmp_path, '--resume', 'auto')
    assert any(f'cannot read the checkpoint {folder / "checkpoint-1.pth.tar"}: ' in line for line in run.lines)
    assert run.resumed() == (1, 0)
    assert_same_run(folder, whole)


@pytest.fixture
def drive(tmp_path):
    """A small drive of its own: a function that mounts it anew with other options."""
    folder = tmp_path / 'drive'
    folder.mkdir()

    def mount(options: str) -> subprocess.CompletedProcess:
        return subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder], capture_output=True)

    if shutil.which('mount') is None or mount('size=4m').returncode:
        pytest.skip('may not mount a drive here')
    yield folder, lambda options: mount(f'remount,{options}')
    subprocess.run(['umount', '-l', folder], check=True)


def test_full_drive_is_an_error_and_the_run_goes_on_once_there_is_room(whole, drive):
    folder, remount = drive
    run = complete(*FLAGS, '--output', folder, status=2)
    assert 'cannot write the checkpoint' in run.stderr and 'No space left on device' in run.stderr
    assert run.stderr.count('\n') == 1
    kept = list((folder / 'run').glob('*.tar'))
    assert kept and not list((folder / 'run').glob('*.tmp'))
    for path in kept:
        load(path)
    remount('size=40m')
    assert complete(*FLAGS, '--output', folder, '--resume', 'auto').resumed() > (0, 0)
    assert_same_run(folder / 'run', whole)


def test_folder_that_is_read_only_is_an_error_before_anything_is_trained(whole, drive):
    folder, remount = drive
    remount('size=40m')
    shutil.copytree(whole, folder / 'run')
    remount('ro')
    run = complete(*FLAGS, '--output', folder, '--resume', 'auto', status=2)
    assert f'{folder / "run"}' in run.stderr and 'Read-only file system' in run.stderr and not run.place()
    assert run.stderr.count('\n') == 1


def test_drive_that_becomes_read_only_is_an_error_and_the_run_goes_on_once_it_is_not(whole, drive):
    folder, remount = drive
    remount('size=40m')
    with Run(*FLAGS, '--output', folder) as run:
        run.wait_for('| step 12/22')
        remount('ro')
        assert run.end() == 2
    assert 'cannot write the checkpoint' in run.stderr and 'Read-only file system' in run.stderr
    assert run.stderr.count('\n') == 1
    remount('rw')
    assert complete(*FLAGS, '--output', folder, '--resume', 'auto').resumed() >= (0, 10)
    assert_same_run(folder / 'run', whole)


def test_drive_without_hard_links_makes_no_difference(whole, tmp_path):
    complete(*FLAGS, '--output', tmp_path, fault=('no_links',))
    assert_same_run(tmp_path / 'run', whole)
    links = {path.stat().st_nlink for path in (tmp_path / 'run').iterdir()}
    assert links == {1}


def test_loss_that_is_not_a_number_ends_the_run_with_its_place_and_the_checkpoint_before_is_whole(tmp_path):
    flags = [*FLAGS, '--recovery-interval', '0', '--lr', '1e30', '--warmup-lr', '0.01', '--output', tmp_path]
    run = complete(*flags, status=2)
    assert 'loss of layer' in run.stderr or 'class loss' in run.stderr
    assert 'is not finite in epoch 1, step ' in run.stderr and run.stderr.count('\n') == 1
    newest = load(tmp_path / 'run' / 'last.pth.tar')
    assert newest['epoch'] == 0
    assert all(value.isfinite().all() for value in newest['state_dict'].values())
