import pytest
import torch

from timm_coded.train.args import parse_args
from timm_coded.train.errors import UserError
from timm_coded.train.run_folder import find_checkpoint, open_folder


@pytest.fixture
def start(tmp_path):
    """Opens a run's folder as the loop does; returns it and the checkpoint that it goes on from."""
    def start(*argv):
        args = parse_args(['--output', str(tmp_path), '--model', 'm', *argv])
        resumed, _, _ = find_checkpoint(args) or (None, None, None)
        folder = open_folder(args, resumed, 160)
        assert args.experiment == folder.name
        return folder.relative_to(tmp_path).as_posix(), resumed
    return start


def save(path):
    keys = ('arch', 'num_classes', 'epoch', 'step', 'state_dict', 'optimizer', 'best', 'history', 'args')
    torch.save(dict.fromkeys(keys), path)


def test_new_run_never_writes_into_another(start):
    assert [start('--experiment', 'x')[0] for _ in range(3)] == ['x', 'x-1', 'x-2']


def test_run_without_a_name_is_called_by_date_model_and_size(start):
    assert start()[0].endswith('-m-160')


def test_resume_auto_stays_in_its_folder_with_and_without_a_checkpoint(start, tmp_path):
    assert start('--experiment', 'x', '--resume', 'auto') == ('x', None)
    save(tmp_path / 'x' / 'last.pth.tar')
    assert start('--experiment', 'x', '--resume', 'auto') == ('x', tmp_path / 'x' / 'last.pth.tar')


def test_resume_goes_on_in_the_folder_of_the_checkpoint(start, tmp_path):
    start('--experiment', 'x')
    path = tmp_path / 'x' / 'checkpoint-3.pth.tar'
    with pytest.raises(UserError, match=f'there is no checkpoint {path}'):
        start('--resume', str(path))
    save(path)
    assert start('--resume', str(path)) == ('x', path)
    assert start('--resume', str(path), '--experiment', 'x') == ('x', path)
    with pytest.raises(UserError, match=f'give --output {tmp_path} --experiment x'):
        start('--resume', str(path), '--experiment', 'y')
    with pytest.raises(UserError, match='there is no checkpoint'):
        start('--resume', str(tmp_path / 'x' / 'lost.pth.tar'), '--experiment', 'y')


def test_resume_auto_needs_a_name(start):
    with pytest.raises(UserError, match='--experiment'):
        start('--resume', 'auto')


def test_folder_that_cannot_be_made_is_named(start, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot write.*file'):
        start('--output', str(tmp_path / 'file'), '--experiment', 'x')
