"""Attacks stay in their ball and among the pixels, and go where the loss grows."""
import pytest
import torch
import torch.nn.functional as F
from random_network import random_network

from timm_coded.analysis.detection.attacks import Attack, Attacked
from timm_coded.analysis.outputs import collect_outputs

MEAN, STD = (.3, .5, .7), (.2, .25, .4)


@pytest.fixture(scope='module', autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope='module')
def model():
    return random_network()


@pytest.fixture(scope='module')
def batch(model):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(6, 3, 8, 8, generator=generator)
    pixels[:, :, 0] = 0.
    pixels[:, :, 1] = 1.
    images = normalised(pixels)
    return images, model(images).argmax(1)


def normalised(pixels):
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def pixels_of(images):
    return images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


def losses(model, images, target):
    return F.cross_entropy(model(images), target, reduction='none')


@pytest.mark.parametrize('attack', [Attack('fgsm', .05), Attack('pgd', .05), Attack('pgd', .05, 3, .04)], ids=str)
def test_no_pixel_leaves_the_ball_or_the_range(model, batch, attack):
    images, target = batch
    moved = Attacked(model, [batch], attack, MEAN, STD).perturb(images, target)
    change = pixels_of(moved) - pixels_of(images)
    assert change.abs().max() <= .05 + 1e-6
    assert (change.abs() > .05 - 1e-5).float().mean() > .25, 'many go to the border'
    assert pixels_of(moved).min() >= -1e-6 and pixels_of(moved).max() <= 1 + 1e-6
    assert (losses(model, moved, target) > losses(model, images, target)).all()


def test_fgsm_is_one_step_of_epsilon_up_the_loss(model, batch):
    images, target = batch
    pixels = pixels_of(images).requires_grad_()
    gradient, = torch.autograd.grad(losses(model, normalised(pixels), target).sum(), pixels)
    expected = (pixels + .03 * gradient.sign()).clamp(0, 1).detach()
    moved = pixels_of(Attacked(model, [batch], Attack('fgsm', .03), MEAN, STD).perturb(images, target))
    assert ((moved - expected).abs() < 1e-5).float().mean() > .999, 'the sign of a gradient near 0 may differ'


def test_pgd_finds_more_than_fgsm_the_same_each_time_and_leaves_the_random_numbers_alone(model, batch):
    images, target = batch
    attacked = Attacked(model, [batch], Attack('pgd', .05), MEAN, STD)
    state = torch.get_rng_state()
    moved = attacked.perturb(images, target)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(attacked.perturb(images, target), moved)
    assert not torch.equal(attacked.perturb(images, target, seed=1), moved)
    fgsm = Attacked(model, [batch], Attack('fgsm', .05), MEAN, STD).perturb(images, target)
    assert losses(model, moved, target).mean() > losses(model, fgsm, target).mean()


@pytest.mark.parametrize('name', ['fgsm', 'pgd'])
def test_images_that_the_model_is_sure_of_are_attacked_too(batch, name):
    """Their gradients are tiny: captum's own threshold would leave them as they are."""
    sure = random_network()
    images, _ = batch
    target = sure(images).argmax(1)
    sure.fc.bias[target[0]] += 25
    assert (target == target[0]).all() and losses(sure, images, target).max() < 1e-6
    moved = Attacked(sure, [], Attack(name, .1, 1, .1), MEAN, STD).perturb(images, target)
    assert (losses(sure.double(), moved.double(), target) > losses(sure, images.double(), target)).all()
    sure.float()
    assert ((pixels_of(moved) - pixels_of(images)).abs() > .09).float().mean() > .4


def test_batches_pass_to_the_outputs_with_their_targets_and_without_fillers(model, batch):
    images, target = batch
    filled = torch.cat([target[4:], torch.tensor([-1, -1])])
    batches = [(images[:4], target[:4]), (torch.cat([images[4:], images[:2]]), filled)]
    attack = Attack('fgsm', .1)
    outputs = collect_outputs(model, Attacked(model, batches, attack, MEAN, STD))
    assert outputs.targets.tolist() == target.tolist()
    alone = torch.cat([Attacked(model, [], attack, MEAN, STD).perturb(images[i:i + 1], target[i:i + 1])
                       for i in range(6)])
    assert torch.allclose(torch.tensor(outputs.logits), model(alone), atol=1e-3), 'batches make no difference'


@pytest.mark.parametrize('given, message', [
    (('cw', .1), "no attack 'cw'"), (('fgsm', 0.), 'epsilon is 0.0'), (('fgsm', 1.5), 'epsilon is 1.5'),
    (('pgd', float('nan')), 'epsilon is nan'), (('pgd', .1, 0), '0 steps'), (('pgd', .1, 5, -1.), 'steps of -1.0'),
])
def test_nonsense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Attack(*given)
