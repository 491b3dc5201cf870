"""The moving average, interruptions, losses that are not finite and unreadable images, seen from a whole run."""
import re
import shutil

import pytest
import timm
import torch
from image_folder import truncate
from watched_run import PLAIN, SMALL, files, record

from timm_coded.train.args import parse_args
from timm_coded.train.build import create_model
from timm_coded.train.errors import UserError
from timm_coded.train.run import run

pytestmark = pytest.mark.usefixtures('one_thread')

STEPS = ['-b', '4', '--sched', 'constant', '--lr', '0.05']  # four of an epoch


def of_average(seen) -> dict[str, torch.Tensor]:
    return seen.last()['state_dict_ema']


@pytest.mark.parametrize('argv, decay', [
    (['--model-ema-decay', '0.6'], lambda update: 0.6),
    (['--model-ema-decay', '0.6', '--model-ema-warmup'], lambda update: min(0.6, 1 - (1 + update) ** (-2 / 3))),
])
def test_moving_average_is_taken_after_every_step_with_the_decay_asked_for(data, tmp_path, argv, decay):
    seen = record(data, tmp_path, *STEPS, '--epochs', '2', '--model-ema', *argv)
    states = [*seen.states[1:], seen.end()]
    assert len(states) == 8
    for name, found in of_average(seen).items():
        expected = states[0][name]
        for update, state in enumerate(states[1:], 1):
            if expected.is_floating_point():
                expected = decay(update) * expected + (1 - decay(update)) * state[name]
            else:
                expected = state[name]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_moving_average_is_evaluated_saved_for_timm_and_chosen_by(data, tmp_path, capsys):
    argv = [*STEPS, '--epochs', '4', '--checkpoint-hist', '4', '--model-ema', '--model-ema-decay', '0.9', '--lr', '0.3']
    seen = record(data, tmp_path, *argv)
    rows = seen.rows()
    tops = [row['eval_ema_top1'] for row in rows]
    assert tops != [row['eval_top1'] for row in rows], 'or there would be nothing to tell apart'
    states = [torch.load(seen.folder / f'checkpoint-{epoch}.pth.tar', weights_only=True) for epoch in range(4)]
    assert [state['metric'] for state in states] == tops
    best = tops.index(max(tops))
    assert torch.load(seen.folder / 'model_best.pth.tar', weights_only=True)['epoch'] == best
    assert f'best epoch {best}: ' in capsys.readouterr().out

    path = seen.folder / f'checkpoint-{best}.pth.tar'
    read = timm.create_model(
        'coded_resnext11_10x11d', channels=(16, 32, 64), num_classes=2, checkpoint_path=str(path)).state_dict()
    average = states[best]['state_dict_ema']
    assert read.keys() == average.keys() and all(torch.equal(read[name], average[name]) for name in read)
    assert any(not torch.equal(average[name], states[best]['state_dict'][name]) for name in average)
    run(parse_args([*SMALL, str(data), '--num-classes', '2', '--eval-only', '--initial-checkpoint', str(path)]))
    printed = capsys.readouterr().out
    assert f'top-1 {rows[best]["eval_ema_top1"]:.2f} %' in printed
    assert f'loss {rows[best]["eval_ema_loss"]:.4f}, coding loss {rows[best]["eval_ema_coding_loss"]:.4f}' in printed


def test_without_the_flag_there_is_no_moving_average(data, tmp_path):
    seen = record(data, tmp_path)
    assert 'state_dict_ema' not in seen.last() and not any('ema' in name for name in seen.rows()[0])


# 2 steps of 2 x 4 images, 2 x 3 batches of evaluation, the end of the epoch: 9 times to stop
INTERRUPTED = ['--sched', 'cosine', '--epochs', '2', '-b', '4', '--global-batch-size', '8', '--mixup', '0.4',
               '--reprob', '0.5', '--model-ema', '--model-ema-decay', '0.8', '--clip-grad', '1', '--drop-subnn', '0.3']


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
    return record(data, tmp_path_factory.mktemp('uninterrupted'), *INTERRUPTED).last()


@pytest.mark.parametrize('stop_at', [1, 2, 3, 6, 9, 10, 11, 14])
def test_run_that_is_stopped_anywhere_and_goes_on_is_the_same_bit_for_bit(
        data, tmp_path, capsys, uninterrupted, stop_at):
    record(data, tmp_path, *INTERRUPTED, stop_at=stop_at)
    place = {1: '1 steps of epoch 0', 9: 'epoch 0', 10: '1 steps of epoch 1', 11: '2 steps of epoch 1'}
    expected = place.get(stop_at, f'2 steps of epoch {stop_at // 10}')
    again = record(data, tmp_path, *INTERRUPTED, '--resume', 'auto').last()
    assert f'resumed after {expected} from' in capsys.readouterr().out
    compare(again, uninterrupted, 'state')


def compare(found, expected, where):
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            if key != 'args':
                compare(found[key], expected[key], f'{where}.{key}')
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected)):
            compare(*pair, f'{where}[{number}]')
    else:
        assert found == expected, where


def test_other_optimizer_and_number_of_classes_start_anew_only_if_overridden(data, tmp_path, capsys):
    record(data, tmp_path, '--epochs', '2', stop_at=3)
    other = ['--epochs', '2', '--resume', 'auto', '--opt', 'adamw', '--num-classes', '5', '--lr', '0.001']
    with pytest.raises(UserError, match='--num-classes 5 is 2 there; --opt adamw is sgd there; --lr 0.001 is 0.1 th'):
        record(data, tmp_path, *other)
    capsys.readouterr()
    seen = record(data, tmp_path, *other, '--override-resume')
    printed = capsys.readouterr().out
    for line in ('--override-resume: --opt adamw is sgd there', '--override-resume: fc.weight starts anew',
                 '--override-resume: the optimizer starts anew', 'resumed after epoch 0'):
        assert line in printed
    assert len(seen.train) == 1 and seen.train_logits[0].shape == (16, 5)
    assert 'exp_avg' in seen.last()['optimizer']['state'][0]


@pytest.fixture
def overflowing(tmp_path) -> list[str]:
    """Starts from a model with energies beyond float32 in its last block, which BatchNorm makes good for the logits."""
    model = create_model(parse_args([*SMALL, '--num-classes', '2']))
    model.layer3[0].conv3.weight.data.mul_(1e15)
    torch.save(model.state_dict(), tmp_path / 'overflowing.pth')
    return ['--initial-checkpoint', str(tmp_path / 'overflowing.pth'), '--no-energy-norm']


def test_block_whose_coding_loss_is_not_finite_is_named_with_the_step(data, tmp_path, overflowing):
    with pytest.raises(UserError, match=r'^the coding loss of layer3\.0 is not finite in epoch 0, step 1; .*--mu'):
        record(data, tmp_path, *STEPS, *overflowing)
    assert not list(tmp_path.glob('run/*.tar'))


def break_from(forward: int):
    """Makes the logits of training not a number from the forward pass of this number on."""
    passes = 0

    def after_classifier(layer, inputs, logits):
        nonlocal passes
        passes += layer.training
        return logits * torch.nan if layer.training and passes >= forward else None
    return lambda model: model.get_classifier().register_forward_hook(after_classifier)


@pytest.mark.parametrize('argv, forward', [([], 3), (['-b', '2', '--global-batch-size', '4'], 5)])
@pytest.mark.parametrize('log_interval', ['1', '50'])
def test_class_loss_that_is_not_finite_ends_the_run_with_its_step(data, tmp_path, argv, forward, log_interval):
    argv = [*STEPS, *argv, '--epochs', '2', '--log-interval', log_interval]
    with pytest.raises(UserError, match='^the class loss is not finite in epoch 0, step 3; .*--allow-non-finite'):
        record(data, tmp_path, *argv, watch=break_from(forward))
    assert not list(tmp_path.glob('run/*.tar')), 'nothing broken is saved'


def test_step_is_counted_from_the_start_of_an_epoch_that_was_interrupted(data, tmp_path):
    argv = [*STEPS, '-b', '2', '--global-batch-size', '4']
    record(data, tmp_path, *argv, stop_at=2)
    with pytest.raises(UserError, match='^the class loss is not finite in epoch 0, step 4;'):
        record(data, tmp_path, *argv, '--resume', 'auto', watch=break_from(3))
    assert [path.name for path in tmp_path.glob('run/*.tar')] == ['recovery-0-2.pth.tar']


def test_allow_non_finite_warns_once_for_each_part_of_an_epoch_and_goes_on(data, tmp_path, capsys):
    argv = [*STEPS, '--epochs', '2', '--log-interval', '1', '--allow-non-finite']
    seen = record(data, tmp_path, *argv, watch=break_from(3))
    warnings = re.findall(r'WARNING: the (?:.*) is not finite in (.*)', capsys.readouterr().out)
    assert warnings == ['epoch 0, step 3', 'the evaluation of epoch 0', 'epoch 1, step 1', 'the evaluation of epoch 1']
    assert len(seen.train) == 8 and len(seen.rows()) == 2


def test_skip_corrupt_leaves_images_out_of_every_metric_and_names_them(data, tmp_path, capsys):
    folder = shutil.copytree(data, tmp_path / 'data')
    broken = [truncate(folder / 'train' / 'dog' / '3.jpg'), truncate(folder / 'val' / 'cat' / '1.jpg')]
    argv = [*PLAIN, '--smoothing', '0', '--epochs', '2']
    seen = record(folder, tmp_path, *argv, '--skip-corrupt', '2')
    printed = capsys.readouterr().out
    assert [printed.count(f'left out {path}: ') for path in broken] == [1, 1], 'in the first epoch'

    row = seen.rows()[0]
    log_p = seen.eval_logits[-2][:10].log_softmax(1)  # of the first epoch
    kept = [0, 2, 3, 4, 5, 6, 7, 8, 9]
    expected = -log_p[kept, [0] * 4 + [1] * 5].mean().item()
    assert row['eval_loss'] == pytest.approx(expected, rel=1e-4)
    hits = (log_p[kept].argmax(1) == torch.tensor([0] * 4 + [1] * 5)).float().mean().item()
    assert row['eval_top1'] == pytest.approx(100 * hits)
    distances = (seen.train[0][:, None].float() - files(data / 'train').float()).abs().flatten(2).mean(2)
    nearest = distances.argmin(1)
    whole = distances.min(1).values == 0  # the filler is like none of them
    assert whole.sum() == 15
    losses = -seen.train_logits[0].log_softmax(1)[range(16), nearest // 8]
    assert row['train_loss'] == pytest.approx(losses[whole].mean().item(), rel=1e-4)
    with pytest.raises(UserError, match='2 images cannot be read, --skip-corrupt allows 1: '):
        record(folder, tmp_path / 'again', *argv, '--skip-corrupt', '1')
