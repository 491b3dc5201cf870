import argparse
import os

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2

import timm_coded
from timm_coded.train import checkpoint
from timm_coded.train.checkpoint import Checkpoints
from timm_coded.train.errors import UserError

ARGS = argparse.Namespace(
    model='resnext11_10x11d', num_classes=10, opt='sgd', lr=0.1, scale=[0.5, 1.0], model_kwargs={})


def make_model_and_optimizer(weight_decay: float = 0.0):
    model = timm.create_model('resnext11_10x11d', num_classes=10, channels=(16, 32, 64))
    optimizer = create_optimizer_v2(model, 'sgd', lr=0.1, weight_decay=weight_decay)
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(checkpoints, epoch, top1, parts=None):
    checkpoints.save(epoch, {'top1': top1, 'loss': 1.0}, *(parts or make_model_and_optimizer()), ARGS)


def epoch_of(path):
    return torch.load(path, weights_only=True)['epoch']


def test_last_best_and_newest_few_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, history=2)
    for epoch, top1 in enumerate([50.0, 70.0, 70.0, 60.0]):
        save(checkpoints, epoch, top1)
    assert sorted(os.listdir(tmp_path)) == [
        'checkpoint-2.pth.tar', 'checkpoint-3.pth.tar', 'last.pth.tar', 'model_best.pth.tar']
    assert epoch_of(tmp_path / 'last.pth.tar') == 3
    assert epoch_of(tmp_path / 'model_best.pth.tar') == 1, 'the earliest of equal ones'
    assert checkpoints.best == {'epoch': 1, 'top1': 70.0, 'loss': 1.0}


def test_drive_without_hard_links_gets_copies(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError('no hard links here')

    monkeypatch.setattr(os, 'link', refuse)
    save(Checkpoints(tmp_path, history=1), 0, 50.0)
    assert [epoch_of(tmp_path / name) for name in ('last.pth.tar', 'model_best.pth.tar')] == [0, 0]


def test_failed_write_leaves_the_checkpoints_before_it(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, history=3)
    save(checkpoints, 0, 50.0)

    def full(state, file):
        file.write(b'half a checkpoint')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(UserError, match='checkpoint-1.*No space left'):
        save(checkpoints, 1, 60.0)
    assert sorted(os.listdir(tmp_path)) == ['checkpoint-0.pth.tar', 'last.pth.tar', 'model_best.pth.tar']
    assert epoch_of(tmp_path / 'last.pth.tar') == epoch_of(tmp_path / 'model_best.pth.tar') == 0


def test_model_and_optimizer_are_restored_but_not_the_settings(tmp_path):
    model, optimizer = make_model_and_optimizer(weight_decay=1e-4)
    save(Checkpoints(tmp_path, 1), 0, 50.0, (model, optimizer))
    other, other_optimizer = make_model_and_optimizer(weight_decay=1e-4)
    for group in other_optimizer.param_groups:
        group['lr'] = 0.7
    path = tmp_path / 'last.pth.tar'
    state = checkpoint.load(path)
    checkpoint.restore_model(other, state, path)
    checkpoint.restore_optimizer(other_optimizer, 'sgd', state, path)
    for ours, theirs in zip(model.parameters(), other.parameters()):
        assert torch.equal(ours, theirs)
        assert torch.equal(optimizer.state[ours]['momentum_buffer'], other_optimizer.state[theirs]['momentum_buffer'])
    assert {group['lr'] for group in other_optimizer.param_groups} == {0.7}


def test_timm_reads_the_weights(tmp_path):
    model, optimizer = make_model_and_optimizer()
    save(Checkpoints(tmp_path, 1), 0, 50.0, (model, optimizer))
    path = str(tmp_path / 'model_best.pth.tar')
    read = timm.create_model('resnext11_10x11d', num_classes=10, channels=(16, 32, 64), checkpoint_path=path)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(model.eval()(images), read.eval()(images))


def test_what_cannot_be_resumed_is_named(tmp_path):
    model, optimizer = make_model_and_optimizer()
    save(Checkpoints(tmp_path, 1), 0, 50.0, (model, optimizer))
    path = tmp_path / 'last.pth.tar'
    state = checkpoint.load(path)
    other = argparse.Namespace(model='coded_resnext11_10x11d', num_classes=7)
    with pytest.raises(UserError, match='coded_resnext11_10x11d is resnext11_10x11d there, --num-classes 7 is 10'):
        checkpoint.check_same_model(state, other, path)
    with pytest.raises(UserError, match=f'{path}.*size mismatch'):
        checkpoint.restore_model(timm.create_model('resnext11_10x11d', num_classes=10), state, path)
    with pytest.raises(UserError, match='parameter groups'):
        checkpoint.restore_optimizer(make_model_and_optimizer(weight_decay=1e-4)[1], 'sgd', state, path)
    with pytest.raises(UserError, match='--opt adamw is sgd there'):
        checkpoint.restore_optimizer(optimizer, 'adamw', state, path)


@pytest.mark.parametrize('resumed, best, best_file', [
    (1, 1, 1),     # the best is the one resumed; the better epoch 2 is given up
    (2, 2, 2),
    (0, 0, 0),
    (3, 2, 2),
])
def test_file_of_the_best_holds_the_best_epoch_of_the_run_that_goes_on(tmp_path, resumed, best, best_file):
    first = Checkpoints(tmp_path, history=9)
    for epoch, top1 in enumerate([50.0, 60.0, 70.0, 65.0]):
        save(first, epoch, top1)
    path = tmp_path / f'checkpoint-{resumed}.pth.tar'
    again = Checkpoints(tmp_path, history=9)
    again.go_on_from(checkpoint.load(path), path)
    assert again.best['epoch'] == best and epoch_of(tmp_path / 'model_best.pth.tar') == best_file
    save(again, resumed + 1, 55.0)
    assert epoch_of(tmp_path / 'model_best.pth.tar') == again.best['epoch'] == (best if resumed else 1)


def test_where_the_best_is_gone_the_search_for_it_starts_anew(tmp_path):
    first = Checkpoints(tmp_path, history=1)
    for epoch, top1 in enumerate([50.0, 40.0]):
        save(first, epoch, top1)
    os.unlink(tmp_path / 'model_best.pth.tar')
    again = Checkpoints(tmp_path, history=1)
    again.go_on_from(checkpoint.load(tmp_path / 'last.pth.tar'), tmp_path / 'last.pth.tar')
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
