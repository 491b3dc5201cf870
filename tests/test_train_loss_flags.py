"""The flags of the loss, of what learns and of mixing do what they say, seen from the images, outputs and weights."""
from pathlib import Path

import pytest
import torch
from watched_run import ONE_STEP, PLAIN, SMALL, files, record, which

from timm_coded.train.args import parse_args
from timm_coded.train.build import create_model
from timm_coded.train.errors import UserError

pytestmark = pytest.mark.usefixtures('one_thread')

DEEP = ['--model', 'coded_resnext29_10x11d']  # three blocks of each scheme


@pytest.fixture
def confident(tmp_path) -> list[str]:
    """Starts from a model with blocks that are not silenced, as timm starts them, and large logits."""
    torch.manual_seed(0)
    model = create_model(parse_args([*SMALL, '--num-classes', '2']))
    for name, parameter in model.named_parameters():
        if name.endswith('bn3.weight'):
            torch.nn.init.ones_(parameter)
    torch.nn.init.normal_(model.get_classifier().weight, std=0.5)
    torch.save(model.state_dict(), tmp_path / 'confident.pth')
    return ['--initial-checkpoint', str(tmp_path / 'confident.pth')]


def classes_of(images: torch.Tensor, data: Path) -> torch.Tensor:
    return torch.tensor([index // 8 for index, _ in which(images, files(data / 'train'))])


def words_of(seen) -> list[torch.Tensor]:
    """The codewords of the blocks layer2.0 and layer3.0, [K, N] each."""
    return [seen.start[f'codewords_{active}of10'].float() for active in (5, 3)]


@pytest.mark.parametrize('mix, whole', [
    (['--mixup', '1'], False),
    (['--cutmix', '1'], False),
    (['--cutmix-minmax', '0.5', '0.6'], False),
    (['--mixup', '1', '--mixup-off-epoch', '1'], True),
])
def test_images_are_mixed_on_their_way_to_the_model_and_targets_on_theirs_to_both_losses(
        data, tmp_path, confident, mix, whole):
    argv = [*PLAIN, *confident, '--smoothing', '0.4', '--drop-subnn', '0']
    if whole:  # in the second epoch
        argv += ['--epochs', '2', '--lr', '0']
    mixed, plain = record(data, tmp_path / 'mixed', *argv, *mix), record(data, tmp_path / 'plain', *argv)
    epoch = int(whole)
    images, mirror = plain.train[epoch].double(), plain.train[epoch].flip(0).double()
    difference = images - mirror
    mixture = mixed.train[epoch].double() - mirror
    share = float((mixture * difference).sum() / (difference ** 2).sum())  # least squares
    assert share == pytest.approx(1) if whole else 0.01 < share < 0.99
    # a box of cutmix counts by its area, which least squares only come near to
    if '--cutmix' in ' '.join(mix):
        same = (mixed.train[epoch] == plain.train[epoch]).flatten(0, 1)
        box = (~same).any(0)
        rows, columns = (box.any(axis).nonzero().flatten() for axis in (1, 0))
        share = 1 - float((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)) / 32 ** 2
    targets = 0.6 * torch.nn.functional.one_hot(classes_of(plain.train[epoch], data), 2) + 0.2
    targets = share * targets + (1 - share) * targets.flip(0)
    class_loss = -(targets * mixed.train_logits[epoch].log_softmax(1)).sum(1).mean()
    coding_loss = 0
    for energies, words in zip(mixed.train_energies[epoch], words_of(mixed), strict=True):
        coding_loss += ((words[0].mean() * energies - targets @ words) ** 4).mean().item()
    row = mixed.rows()[epoch]
    assert row['train_loss'] == pytest.approx(class_loss.item(), rel=1e-3)
    assert row['train_coding_loss'] == pytest.approx(coding_loss, rel=1e-3)
    hard = -mixed.eval_logits[-1][:10].log_softmax(1)[range(10), [0] * 5 + [1] * 5].mean()
    assert row['eval_loss'] == pytest.approx(hard.item(), rel=1e-3), 'evaluation is neither mixed nor smoothed'


@pytest.mark.parametrize('argv, exponent, threshold', [
    ([], 4, 0),
    (['--coding-exponent', '3'], 3, 0),
    (['--coding-threshold', '0.3'], 4, 0.3),
    (['--coding-exponent', '1', '--coding-threshold', '0.2'], 1, 0.2),
])
def test_coding_loss_has_the_exponent_and_the_threshold_that_are_asked_for(data, tmp_path, argv, exponent, threshold):
    seen = record(data, tmp_path, *PLAIN, *argv)
    classes = classes_of(seen.train[0], data)
    expected = {'train': 0.0, 'eval': 0.0}
    for block, words in enumerate(words_of(seen)):
        for phase, energies, target in (
                ('train', seen.train_energies[0][block], classes),
                ('eval', seen.eval_energies[-1][block][:10], torch.tensor([0] * 5 + [1] * 5))):
            distance = (words[0].mean() * energies - words[target]).abs()
            expected[phase] += ((distance - threshold).clamp_min(0) ** exponent).mean().item()
    row, = seen.rows()
    assert row['train_coding_loss'] == pytest.approx(expected['train'], rel=1e-4)
    assert row['eval_coding_loss'] == pytest.approx(expected['eval'], rel=1e-4)


@pytest.mark.parametrize('argv, normalised', [([], True), (['--energy-norm'], True), (['--no-energy-norm'], False)])
def test_energies_are_normalised_unless_asked_not_to(data, tmp_path, argv, normalised):
    seen = record(data, tmp_path, *argv)
    for energies in seen.train_energies[0] + seen.eval_energies[0]:
        assert torch.allclose(energies.sum(1), torch.tensor(10.0), rtol=1e-4) == normalised


@pytest.mark.parametrize('argv, alike', [([], True), (['--no-drop-per-block'], True), (['--drop-per-block'], False)])
def test_blocks_of_a_scheme_drop_the_same_subnns_unless_each_is_asked_to_draw_its_own(data, tmp_path, argv, alike):
    dropped = []

    def watch(model):
        def before_last_convolution(layer, inputs):
            if layer.training:
                subnns = inputs[0].detach().reshape(len(inputs[0]), 10, -1)
                dropped.append((subnns == 0).all(2))
        for block in model.layer3:
            block.conv3.register_forward_pre_hook(before_last_convolution)

    record(data, tmp_path, *DEEP, *argv, '--drop-subnn', '0.5', watch=watch)
    first, *others = dropped
    assert 0.3 < first.float().mean() < 0.7
    assert [torch.equal(first, other) for other in others] == [alike, alike]


def test_no_subnn_is_dropped_where_none_is_asked_for(data, tmp_path, confident):
    seen = record(data, tmp_path / 'a', *confident, '--drop-subnn', '0')
    again = record(data, tmp_path / 'b', *confident, '--drop-subnn', '0.9')
    assert torch.equal(seen.train[0], again.train[0])
    assert not torch.equal(seen.train_logits[0], again.train_logits[0])
    assert torch.equal(seen.train_energies[0][0], again.train_energies[0][0]), 'the loss sees them before the dropping'


@pytest.mark.parametrize('masked', [True, False])
def test_mask_grads_leaves_the_inactive_subnns_of_the_classes_as_they_were(data, tmp_path, confident, masked):
    """Images of the class 0 alone; with --energy-norm each subNN would learn a little through the mean."""
    (tmp_path / 'data' / 'train').mkdir(parents=True)
    for split in ('train', 'val'):
        (tmp_path / 'data' / split).mkdir(exist_ok=True)
        (tmp_path / 'data' / split / 'cat').symlink_to(data / 'train' / 'cat')
    seen = record(tmp_path / 'data', tmp_path, *ONE_STEP, *confident, '--num-classes', '2', '-b', '8', '--mu', '0',
                  '--no-energy-norm', '--drop-subnn', '0', *['--mask-grads'] * masked)
    words, end = words_of(seen), seen.end()
    for block, own in zip(('layer2.0', 'layer3.0'), words):
        name = f'{block}.conv3.weight'
        before = torch.load(confident[1], weights_only=True)[name]
        moved = (end[name] != before).flatten(1).any(0).view(10, -1)  # which inputs of the last convolution
        assert torch.equal(moved.any(1), own[0].bool() if masked else torch.ones(10, dtype=torch.bool))


@pytest.mark.parametrize('argv, micro_batches', [
    ([], 1),
    (['-b', '4'], 1),
    (['-b', '4', '--global-batch-size', '8'], 2),
])
def test_micro_batches_of_a_global_batch_are_one_step(data, tmp_path, capsys, argv, micro_batches):
    seen = record(data, tmp_path, *ONE_STEP, *argv)
    batch = 4 if argv else 16
    assert [len(images) for images in seen.train] == [batch] * (16 // batch)
    weights = [state['conv1.weight'] for state in seen.states] + [seen.end()['conv1.weight']]
    changed = [not torch.equal(*pair) for pair in zip(weights, weights[1:])]
    assert changed == [number % micro_batches == 0 for number in range(1, len(changed) + 1)]
    printed = capsys.readouterr().out
    assert ('2 x 4 images a replica make a step of 8' in printed) == (micro_batches == 2)
    assert f'step {16 // batch // micro_batches}/{16 // batch // micro_batches}' in printed


def test_global_batch_that_does_not_divide_lists_what_does(data, tmp_path):
    with pytest.raises(UserError, match='18 is no multiple of 1 x --batch-size 4 .*size may be 1, 2, 3, 6, 9, 18$'):
        record(data, tmp_path, '-b', '4', '--global-batch-size', '18')
    with pytest.raises(UserError, match='16 training images are not one batch of 32: lower --global-batch-size'):
        record(data, tmp_path, '-b', '4', '--global-batch-size', '32')
    assert not (tmp_path / 'run').exists()


def test_synthetic_images_need_no_folder_and_are_as_many_as_promised(tmp_path):
    seen = record(None, tmp_path, '--synthetic', '--num-classes', '7', '--img-size', '16', '-b', '2', '-vb', '3')
    assert [tuple(images.shape) for images in seen.train] == [(2, 3, 16, 16)] * 100
    assert [tuple(images.shape) for images in seen.eval] == [(3, 3, 16, 16)] * 10
    assert seen.train_logits[0].shape == (2, 7) and seen.rows()[0]['eval_loss'] > 0


def test_model_gives_the_classes_of_synthetic_images_if_nobody_does(tmp_path):
    seen = record(None, tmp_path, '--synthetic', '--model', 'resnext11_10x11d', '--img-size', '16', '-b', '1')
    assert seen.train_logits[0].shape == (1, 10)
