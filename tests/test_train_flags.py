"""Flags do what they say, seen from where it counts: what comes to the model, and what becomes of its weights."""
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from image_folder import make_image_folder
from torch.overrides import TorchFunctionMode
from watched_run import ONE_STEP, PLAIN, SMALL, Record, files, in_any_order, record, which

from timm_coded.train.args import parse_args
from timm_coded.train.build import create_model, create_optimizer
from timm_coded.train.run import run

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.mark.parametrize('hflip, vflip, sides', [('0', '0', []), ('1', '0', [-1]), ('0', '1', [-2])])
def test_training_images_are_flipped_as_often_as_asked(data, tmp_path, hflip, vflip, sides):
    seen = record(data, tmp_path, *PLAIN, '--hflip', hflip, '--vflip', vflip)
    assert in_any_order(seen.train[0]) == in_any_order(files(data / 'train').flip(sides))


def test_random_erasing_blanks_a_box_of_each_training_image_on_its_way_to_the_model(data, tmp_path):
    erased = record(data, tmp_path / 'erased', *PLAIN, '--reprob', '1', '--remode', 'const')
    plain = record(data, tmp_path / 'plain', *PLAIN)
    for image, whole in zip(erased.train[0], plain.train[0], strict=True):
        blank = (image == -1).all(0)
        rows, columns = blank.any(1).nonzero().flatten(), blank.any(0).nonzero().flatten()
        assert blank.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) > 0, 'one box'
        assert torch.equal(image[:, ~blank], whole[:, ~blank])
    assert torch.cat(erased.eval).min() >= 0, 'no evaluation image is erased'


@pytest.mark.parametrize('in_config', [False, True])
def test_no_aug_trains_on_the_images_as_they_are_whatever_else_is_asked(data, tmp_path, in_config):
    (tmp_path / 'config.yaml').write_text('no_aug: true')
    argv = ['--config', str(tmp_path / 'config.yaml')] if in_config else ['--no-aug']
    seen = record(data, tmp_path, *argv, '--reprob', '1', '--remode', 'const', '--hflip', '1')
    assert in_any_order(seen.train[0]) == in_any_order(files(data / 'train'))


@pytest.mark.parametrize('argv, expected', [
    # all 32 rows, of which the middle half is taken
    (['--crop-pct', '0.5'], lambda images: images[:, :, 8:24, 12:28]),
    # every other row; of 40 columns, those at the middle of the 16 parts
    (['--crop-pct', '1', '--crop-mode', 'squash', '--interpolation', 'nearest'],
     lambda images: images[:, :, 1::2][..., [int(2.5 * (column + 0.5)) for column in range(16)]]),
])
def test_evaluation_images_are_cropped_as_asked(data, tmp_path, argv, expected):
    seen = record(data, tmp_path, '--eval-img-size', '16', *argv)
    assert torch.equal(torch.cat(seen.eval)[:10], expected(files(data / 'val')))


def test_training_and_evaluation_have_image_and_batch_sizes_of_their_own(data, tmp_path):
    seen = record(data, tmp_path, '--img-size', '16', '--eval-img-size', '24',
                  '--batch-size', '8', '--validation-batch-size', '3')
    assert [tuple(images.shape) for images in seen.train] == [(8, 3, 16, 16)] * 2
    assert [tuple(images.shape) for images in seen.eval] == [(3, 3, 24, 24)] * 4


def test_evaluation_is_like_training_where_no_size_is_given_for_it(data, tmp_path):
    seen = record(data, tmp_path, '--img-size', '16', '-b', '8')
    assert {tuple(images.shape) for images in seen.train + seen.eval} == {(8, 3, 16, 16)}


@pytest.mark.parametrize('argv, dtype', [
    ([], torch.float32),
    (['--amp'], torch.bfloat16),
])
def test_amp_computes_in_bfloat16_and_keeps_float32_weights(data, tmp_path, argv, dtype):
    seen = record(data, tmp_path, *argv)
    assert seen.dtypes == {(True, dtype), (False, dtype)}
    assert all(value.dtype == torch.float32 for value in seen.end().values() if value.is_floating_point())


@pytest.mark.parametrize('accumulated', [[], ['-b', '4', '--global-batch-size', '16']])
@pytest.mark.parametrize('mode, size', [
    ('norm', lambda gradients: torch.cat(gradients).norm().item()),
    ('value', lambda gradients: torch.cat(gradients).abs().max().item()),
])
def test_clip_grad_bounds_the_gradient_of_a_step(data, tmp_path, mode, size, accumulated):
    def gradient(output, *argv):
        seen = record(data, output, *ONE_STEP, *accumulated, *argv)
        end, weights = seen.end(), [name for name in seen.start if name.endswith(('weight', 'bias'))]
        return [((seen.start[name] - end[name]) / 0.1).flatten() for name in weights]

    assert size(gradient(tmp_path / 'free')) > 0.04
    assert size(gradient(tmp_path / 'clipped', '--clip-grad', '0.02', '--clip-mode', mode)) == pytest.approx(0.02, 1e-2)


def test_label_smoothing_is_of_the_training_loss_alone(data, tmp_path):
    seen = record(data, tmp_path, *PLAIN, '--smoothing', '0.6')
    row, = csv.DictReader((seen.folder / 'summary.csv').read_text().splitlines())

    classes = torch.tensor([index // 8 for index, _ in which(seen.train[0], files(data / 'train'))])
    log_p = seen.train_logits[0].log_softmax(1)
    smoothed = -(0.4 * log_p[range(16), classes] + 0.6 * log_p.mean(1)).mean()
    assert float(row['train_loss']) == pytest.approx(smoothed.item(), rel=1e-4)
    log_p = seen.eval_logits[-1][:10].log_softmax(1)
    assert float(row['eval_loss']) == pytest.approx(-(log_p[:5, 0].sum() + log_p[5:, 1].sum()).item() / 10, rel=1e-4)


def test_weight_decay_shrinks_weights_but_neither_biases_nor_batch_norms():
    args = parse_args([*SMALL, '--num-classes', '10', '--opt', 'momentum', '--lr', '0.5', '--weight-decay', '0.2'])
    model = create_model(args)
    torch.manual_seed(0)
    before = {}
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter)
        before[name] = parameter.detach().clone()
        parameter.grad = torch.zeros_like(parameter)
    create_optimizer(args, model).step()
    norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    for name, parameter in model.named_parameters():
        owner, _, kind = name.rpartition('.')
        factor = 1 if kind == 'bias' or owner in norms else 1 - 0.5 * 0.2
        assert torch.allclose(parameter, factor * before[name], rtol=1e-5, atol=0), name


@pytest.fixture(scope='module')
def seeded(data, tmp_path_factory) -> dict[str, Record]:
    """Two epochs with seed 1, the same again, the second resumed after the first, and both with seed 2."""
    argv = [*PLAIN, '--hflip', '0.5', '--epochs', '2']
    first, again, other, resumed = (tmp_path_factory.mktemp(name) for name in ('first', 'again', 'other', 'resumed'))
    record(data, resumed, *argv, '--seed', '1', stop_at=3)  # at the end of the first epoch
    return {
        'first': record(data, first, *argv, '--seed', '1'),
        'again': record(data, again, *argv, '--seed', '1'),
        'other': record(data, other, *argv, '--seed', '2'),
        'resumed': record(data, resumed, *argv, '--seed', '1', '--resume', 'auto'),
    }


def views(seen: Record, data: Path) -> list[list[tuple[int, bool]]]:
    return [which(images, files(data / 'train')) for images in seen.train]


def test_seed_repeats_a_run(seeded):
    first, again = seeded['first'], seeded['again']
    assert all(torch.equal(first.start[name], again.start[name]) for name in first.start)
    assert all(torch.equal(*images) for images in zip(first.train, again.train, strict=True))
    assert first.draws == again.draws
    end, end_again = first.end(), again.end()
    assert all(torch.equal(end[name], end_again[name]) for name in end)


def test_another_seed_changes_weights_order_augmentation_and_random_numbers(seeded, data):
    first, other = seeded['first'], seeded['other']
    assert not torch.equal(first.start['conv1.weight'], other.start['conv1.weight'])
    assert not any(draw in first.draws for draw in other.draws)
    for ours, theirs in zip(views(first, data), views(other, data), strict=True):
        assert [index for index, _ in ours] != [index for index, _ in theirs], 'order'
        assert dict(ours) != dict(theirs), 'which are mirrored'


def test_each_epoch_has_random_numbers_of_its_own_also_in_a_resumed_run(seeded, data):
    first, resumed = seeded['first'], seeded['resumed']
    assert len(first.draws) == 2 and first.draws[0] != first.draws[1]
    order, next_order = ([index for index, _ in view] for view in views(first, data))
    assert order != next_order
    assert resumed.draws == first.draws[1:]
    assert torch.equal(resumed.train[0], first.train[1])


def test_best_epoch_before_a_resumption_stays_the_best_if_it_is_not_beaten(tmp_path, capsys):
    for split in ('train', 'val'):
        make_image_folder(tmp_path / split, {'cat': 16}, (32, 32))  # of one class: every epoch has 100 %
    argv = ['--model', 'resnext11_10x11d', '--resume', 'auto', '--epochs', '2']
    record(tmp_path, tmp_path / 'output', *argv, stop_at=3)
    seen = record(tmp_path, tmp_path / 'output', *argv)
    assert len(seen.train) == 1 and 'best epoch 0: top-1 100.00 %' in capsys.readouterr().out
    last, best = (torch.load(seen.folder / f'{name}.pth.tar', weights_only=True) for name in ('last', 'model_best'))
    assert last['epoch'] == 1 and best['epoch'] == last['best']['epoch'] == 0


class Groups(TorchFunctionMode):
    """Notes the groups of the last forward pass's 3x3 convolutions, the first layer's left out."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.conv2d and args[1].shape[2:] == (3, 3):
            if args[1].shape[1] == 3:
                self.seen = []
            else:
                self.seen.append(args[0].shape[1] // args[1].shape[1])
        return function(*args, **(kwargs or {}))


def groups(*argv: str) -> list[int]:
    """How the loop convolves the blocks' 10 groups of 2, 5 and 11 channels."""
    with Groups() as mode:
        run(parse_args([*SMALL, *argv]))
    return mode.seen


@pytest.mark.parametrize('argv, expected', [
    ([], [10, 10, 10]),
    (['--pack-lanes', '0'], [10, 10, 10]),
    (['--pack-lanes', '10'], [1, 5, 10]),
    (['--pack-lanes', '128'], [1, 1, 1]),
])
def test_groups_are_packed_on_the_cpu_to_as_many_lanes_as_asked(data, tmp_path, argv, expected):
    assert groups(str(data), '--output', str(tmp_path), *argv) == expected


def test_groups_are_packed_to_128_lanes_on_xla_unless_asked_not_to(data, tmp_path):
    pytest.importorskip('torch_xla')
    model = create_model(parse_args([*SMALL, '--num-classes', '2']))
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    argv = [str(data), '--device', 'xla', '--eval-only', '--initial-checkpoint', str(tmp_path / 'model.pth'),
            '--eval-img-size', '16']
    code = f'from test_train_flags import groups; print(groups(*{argv}), groups(*{argv}, "--pack-lanes", "0"))'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=Path(__file__).parent,
                            env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == '[1, 1, 1] [10, 10, 10]'
