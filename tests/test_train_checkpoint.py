import csv
import os

import pytest
import timm
import torch

from timm_coded.train import checkpoint
from timm_coded.train.checkpoint import Checkpoints, duplicate
from timm_coded.train.errors import UserError


def make_model() -> torch.nn.Module:
    return timm.create_model('resnext11_10x11d', num_classes=10, channels=(16, 32, 64))


def state_of(model: torch.nn.Module | None = None) -> dict:
    """What a run gives its checkpoints to keep."""
    weights = model.state_dict() if model else {'weight': torch.arange(3.0)}
    return {'arch': 'resnext11_10x11d', 'num_classes': 10, 'state_dict': weights, 'optimizer': {}, 'args': {'lr': 0.1}}


def save(checkpoints, epoch, top1, model=None):
    checkpoints.save_epoch(
        epoch, {'metric': top1, 'top1': top1, 'loss': 1.0}, {'eval_top1': top1, 'lr': 0.5}, state_of(model))


def resume(folder, path, kept=9):
    checkpoints = Checkpoints(folder, kept)
    checkpoints.go_on_from(checkpoint.load(path), path)
    return checkpoints


def epoch_of(path):
    return torch.load(path, weights_only=True)['epoch']


def rows_of(folder):
    rows = csv.DictReader((folder / 'summary.csv').read_text().splitlines())
    return [(row['epoch'], row['eval_top1']) for row in rows]


def test_last_best_and_newest_few_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, kept=2)
    for epoch, top1 in enumerate([50.0, 70.0, 70.0, 60.0]):
        save(checkpoints, epoch, top1)
    assert sorted(os.listdir(tmp_path)) == [
        'checkpoint-2.pth.tar', 'checkpoint-3.pth.tar', 'last.pth.tar', 'model_best.pth.tar', 'summary.csv']
    assert epoch_of(tmp_path / 'last.pth.tar') == 3
    assert epoch_of(tmp_path / 'model_best.pth.tar') == 1, 'the earliest of equal ones'
    assert checkpoints.best == {'epoch': 1, 'metric': 70.0, 'top1': 70.0, 'loss': 1.0}
    assert rows_of(tmp_path) == [('0', '50.0'), ('1', '70.0'), ('2', '70.0'), ('3', '60.0')]


def test_recovery_checkpoint_is_of_an_epoch_that_has_not_ended_and_goes_once_a_newer_file_is_there(tmp_path):
    checkpoints = Checkpoints(tmp_path, kept=2)
    save(checkpoints, 0, 50.0)
    checkpoints.save_recovery(1, 5, state_of())
    checkpoints.save_recovery(1, 9, state_of() | {'local': {'sums': torch.ones(2)}})
    recovery, = tmp_path.glob('recovery-*')
    state = checkpoint.load(recovery)
    assert recovery.name == 'recovery-1-9.pth.tar'
    assert (state['epoch'], state['step'], state['best']['epoch']) == (0, 9, 0)
    assert state['local']['sums'].tolist() == [1, 1] and state['history'] == checkpoints.history
    assert rows_of(tmp_path) == [('0', '50.0')], 'no row of an epoch that has not ended'
    save(checkpoints, 1, 40.0)
    assert sorted(os.listdir(tmp_path)) == [
        'checkpoint-0.pth.tar', 'checkpoint-1.pth.tar', 'last.pth.tar', 'model_best.pth.tar', 'summary.csv']


def test_drive_without_hard_links_gets_copies(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError('no hard links here')

    monkeypatch.setattr(os, 'link', refuse)
    save(Checkpoints(tmp_path, kept=1), 0, 50.0)
    assert [epoch_of(tmp_path / name) for name in ('last.pth.tar', 'model_best.pth.tar')] == [0, 0]


@pytest.mark.parametrize('kind', ['epoch', 'recovery'])
def test_failed_write_leaves_the_checkpoints_before_it(tmp_path, monkeypatch, kind):
    checkpoints = Checkpoints(tmp_path, kept=3)
    save(checkpoints, 0, 50.0)

    def full(state, file):
        file.write(b'half a checkpoint')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(UserError, match=r'(checkpoint|recovery)-1.*No space left.*those before it are whole'):
        save(checkpoints, 1, 60.0) if kind == 'epoch' else checkpoints.save_recovery(1, 3, state_of())
    assert sorted(os.listdir(tmp_path)) == [
        'checkpoint-0.pth.tar', 'last.pth.tar', 'model_best.pth.tar', 'summary.csv']
    assert epoch_of(tmp_path / 'last.pth.tar') == epoch_of(tmp_path / 'model_best.pth.tar') == 0


def test_file_that_cannot_be_read_back_never_gets_its_name(tmp_path, monkeypatch):
    """As on a drive that says that it has written, and has not."""
    written = torch.save

    def flip_a_bit(state, file):
        written(state, file)
        file.seek(file.tell() // 2)
        file.write(b'\xff\x00\xff')

    monkeypatch.setattr(torch, 'save', flip_a_bit)
    with pytest.raises(UserError, match='cannot write the checkpoint'):
        save(Checkpoints(tmp_path, kept=1), 0, 50.0, make_model())
    assert not list(tmp_path.glob('*.tar')) and not list(tmp_path.glob('*.tmp'))


def test_a_second_name_given_twice_leaves_no_draft(tmp_path):
    (tmp_path / 'checkpoint-7.pth.tar').write_bytes(b'whole')
    for _ in range(2):
        duplicate(tmp_path / 'checkpoint-7.pth.tar', tmp_path / 'last.pth.tar')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['checkpoint-7.pth.tar', 'last.pth.tar']
    assert (tmp_path / 'last.pth.tar').read_bytes() == b'whole'


def test_drafts_of_a_run_that_was_killed_are_removed(tmp_path):
    (tmp_path / 'checkpoint-7.pth.tar.tmp').write_bytes(b'half')
    Checkpoints(tmp_path, kept=1)
    assert not os.listdir(tmp_path)


def test_timm_reads_the_weights(tmp_path):
    model = make_model()
    save(Checkpoints(tmp_path, 1), 0, 50.0, model)
    path = str(tmp_path / 'model_best.pth.tar')
    read = timm.create_model('resnext11_10x11d', num_classes=10, channels=(16, 32, 64), checkpoint_path=path)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(model.eval()(images), read.eval()(images))


@pytest.mark.parametrize('resumed, best', [
    (1, 1),     # the best is the one resumed; the better epoch 2 is given up
    (2, 2),
    (0, 0),
    (3, 2),
])
def test_file_of_the_best_holds_the_best_epoch_of_the_run_that_goes_on(tmp_path, resumed, best):
    first = Checkpoints(tmp_path, kept=9)
    tops = [50.0, 60.0, 70.0, 65.0]
    for epoch, top1 in enumerate(tops):
        save(first, epoch, top1)
    again = resume(tmp_path, tmp_path / f'checkpoint-{resumed}.pth.tar')
    assert again.best['epoch'] == best == epoch_of(tmp_path / 'model_best.pth.tar')
    save(again, resumed + 1, 55.0)
    assert epoch_of(tmp_path / 'model_best.pth.tar') == again.best['epoch'] == (best if resumed else 1)
    assert rows_of(tmp_path) == [(str(epoch), str(top1)) for epoch, top1 in enumerate([*tops[:resumed + 1], 55.0])]


def test_epochs_that_are_given_up_leave_the_folder(tmp_path):
    """A newer checkpoint of the abandoned course would be the next that --resume auto finds."""
    first = Checkpoints(tmp_path, kept=9)
    for epoch in range(5):
        save(first, epoch, 50.0)
    save(resume(tmp_path, tmp_path / 'checkpoint-1.pth.tar'), 2, 40.0)
    assert sorted(path.name for path in tmp_path.glob('checkpoint-*')) == [
        f'checkpoint-{epoch}.pth.tar' for epoch in (0, 1, 2)]


def test_best_is_that_of_the_history_also_after_a_recovery_checkpoint(tmp_path):
    first = Checkpoints(tmp_path, kept=1)
    save(first, 0, 50.0)
    save(first, 1, 40.0)
    first.save_recovery(2, 3, state_of())
    again = resume(tmp_path, tmp_path / 'recovery-2-3.pth.tar')
    assert again.best['epoch'] == epoch_of(tmp_path / 'model_best.pth.tar') == 0
    save(again, 2, 45.0)
    assert epoch_of(tmp_path / 'model_best.pth.tar') == 0
    assert rows_of(tmp_path) == [('0', '50.0'), ('1', '40.0'), ('2', '45.0')]


def test_where_the_best_is_gone_the_search_for_it_starts_anew(tmp_path):
    first = Checkpoints(tmp_path, kept=1)
    for epoch, top1 in enumerate([50.0, 40.0]):
        save(first, epoch, top1)
    os.unlink(tmp_path / 'model_best.pth.tar')
    again = resume(tmp_path, tmp_path / 'last.pth.tar', kept=1)
    assert again.best is None
    save(again, 2, 45.0)
    assert epoch_of(tmp_path / 'model_best.pth.tar') == again.best['epoch'] == 2


def test_file_that_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / 'x.pth.tar'
    with pytest.raises(UserError, match=f'there is no checkpoint {path}'):
        checkpoint.load(path)
    path.write_bytes(b'not a checkpoint')
    with pytest.raises(UserError, match=f'cannot read the checkpoint {path}'):
        checkpoint.load(path)
    torch.save({'state_dict': {}}, path)
    with pytest.raises(UserError, match='--initial-checkpoint'):
        checkpoint.load(path)


def test_checkpoint_of_a_stranger_cannot_run_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'owned'),)

    torch.save({'state_dict': Harmful()}, tmp_path / 'x.pth.tar')
    with pytest.raises(UserError, match='cannot read the checkpoint'):
        checkpoint.load(tmp_path / 'x.pth.tar')
    assert not (tmp_path / 'owned').exists()


def test_tree_goes_to_the_cpu_with_its_shape():
    class Elsewhere(torch.Tensor):
        def cpu(self):
            return torch.tensor(7)

    tree = {'a': [Elsewhere(), (1, None)], 'b': {0: Elsewhere()}, 'c': 'text'}
    assert checkpoint.to_cpu(tree) == {'a': [torch.tensor(7), (1, None)], 'b': {0: torch.tensor(7)}, 'c': 'text'}
