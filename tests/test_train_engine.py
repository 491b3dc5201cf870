import io

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3

import timm_coded
from timm_coded.train import replicas
from timm_coded.train.data.loader import IGNORED
from timm_coded.train.device_augment import DeviceAugment
from timm_coded.train.engine import Training, evaluate, train_epoch
from timm_coded.train.finite import FiniteWatch
from timm_coded.train.progress import Progress
from timm_coded.train.sums import Sums

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class FixedBatches(list):
    num_workers = 0


def make_model(name: str = 'coded_resnext11_10x11d', **kwargs) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10, channels=(16, 32, 64), **kwargs)


def make_parts(model, steps, mu=6.0):
    replica = replicas.create('cpu')
    criterion = timm_coded.CodingLoss(torch.nn.CrossEntropyLoss(ignore_index=IGNORED), model, mu)
    progress = Progress(replica, 1, steps, 8, 100, io.StringIO())
    return criterion, DeviceAugment(MEAN, STD, 'pixel', replica.device), replica, progress


def make_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return (torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=rng),
            torch.randint(0, 10, (count,), generator=rng))


def normalise(images: torch.Tensor) -> torch.Tensor:
    return (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.parametrize('name', ['coded_resnext11_10x11d', 'resnext11_10x11d'])
def test_padded_evaluation_equals_one_plain_pass_over_all_images(name):
    model = make_model(name)
    images, targets = make_images(21)
    padded = torch.cat([images, images[-1:].expand(3, -1, -1, -1)]), torch.cat([targets, torch.full((3,), IGNORED)])
    batches = FixedBatches(zip(padded[0].split(8), padded[1].split(8)))
    criterion, augment, replica, progress = make_parts(model, 3)
    metrics = evaluate(model, criterion, augment, batches, replica, progress)

    with torch.no_grad():
        logits, energies = model.eval().forward_energies(normalise(images))
    order = logits.argsort(1, descending=True)
    expected = {
        'loss': F.cross_entropy(logits, targets).item(),
        'top1': 100 * (order[:, 0] == targets).float().mean().item(),
        'top5': 100 * (order[:, :5] == targets[:, None]).any(1).float().mean().item(),
    }
    for block, energy in zip(model.coded_blocks, energies):
        words = model.codewords(block).float()
        ratio = words[0].mean()
        expected[f'coding_loss_{block}'] = ((ratio * energy - words[targets]) ** 4).mean().item()
        nearest = torch.cdist(ratio * energy, words).argmin(1)
        expected[f'decoder_{block}'] = 100 * (nearest == targets).float().mean().item()
    if energies:
        expected['coding_loss'] = sum(value for key, value in expected.items() if key.startswith('coding_loss_'))
    assert metrics == pytest.approx(expected, rel=1e-4)


def test_top5_of_three_classes_is_top3():
    torch.manual_seed(0)
    model = timm.create_model('coded_resnext11_10x11d', num_classes=3, channels=(16, 32, 64))
    images, targets = make_images(8)
    criterion, augment, replica, progress = make_parts(model, 1)
    metrics = evaluate(model, criterion, augment, FixedBatches([(images, targets % 3)]), replica, progress)
    assert metrics['top5'] == 100


def train(model, optimizer, batches, epoch=0, first_step=0, after_step=lambda step: None, mu=6.0, **options):
    """An epoch, or the rest of it from `first_step` on; gives the metrics."""
    steps = len(batches) // options.get('accumulation', 1) + first_step
    criterion, augment, replica, progress = make_parts(model, steps, mu)
    training = Training(model, criterion, optimizer, augment, replica, seed=3, **options)
    sums = Sums(training.metrics(), replica)
    finite = FiniteWatch(training.terms(), replica.device)
    train_epoch(training, FixedBatches(batches), progress, sums, finite, epoch, first_step, after_step)
    assert finite.broken() is None
    return sums.means()


def written_out(twin, groups, epoch, first_step, clip):
    """The same by hand: a step for each group of micro-batches; gives the mean losses of all micro-batches."""
    replica = replicas.create('cpu')
    velocity = [torch.zeros_like(parameter) for parameter in twin.parameters()]
    losses = []
    twin.train()
    for step, group in enumerate(groups, first_step):
        total = [torch.zeros_like(parameter) for parameter in twin.parameters()]
        for micro, (batch, target) in enumerate(group):
            replica.seed(3, 1 + epoch, 1 + step, micro)  # of dropSubNN's masks
            logits, energies = twin.forward_energies(normalise(batch))
            coding = 0
            for block, energy in zip(twin.coded_blocks, energies):
                words = twin.codewords(block).float()
                coding = coding + ((words[0].mean() * energy - words[target]) ** 4).mean()
            loss = F.cross_entropy(logits, target)
            grads = torch.autograd.grad((loss + 6 * coding) / len(group), list(twin.parameters()))
            total = [sum_ + grad for sum_, grad in zip(total, grads)]
            losses.append((loss.item(), coding.item()))
        norm = torch.stack([grad.norm() for grad in total]).norm().item()
        assert clip is None or norm > clip, 'or clipping would not be tested'
        scale = 1 if clip is None else clip / norm
        with torch.no_grad():
            for parameter, grad, speed in zip(twin.parameters(), total, velocity):
                speed.mul_(0.9).add_(scale * grad)
                parameter.sub_(0.1 * (scale * grad + 0.9 * speed))
    return [sum(values) / len(losses) for values in zip(*losses)]


def in_double(model):
    """In float32 three steps make a difference of rounding 10,000 times larger."""
    model.conv1.register_forward_pre_hook(lambda module, args: (args[0].double(),))
    return model.double()


def nesterov(model):
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)


@pytest.mark.parametrize('clip', [1.0, None])
@pytest.mark.parametrize('accumulation', [1, 3])
@pytest.mark.parametrize('epoch, first_step', [(0, 0), (2, 5)])
def test_training_steps_equal_those_written_out(accumulation, clip, epoch, first_step):
    """Of accumulated micro-batches the sum of the gradients is clipped, once."""
    images, targets = make_images(24 * accumulation)
    batches = list(zip(images.split(8), targets.split(8)))
    model, twin = in_double(make_model()), in_double(make_model())
    ended = []
    metrics = train(model, nesterov(model), batches, epoch, first_step, ended.append,
                    clip_grad=clip, accumulation=accumulation)
    groups = [batches[start:start + accumulation] for start in range(0, len(batches), accumulation)]
    loss, coding_loss = written_out(twin, groups, epoch, first_step, clip)
    assert metrics == pytest.approx({'loss': loss, 'coding_loss': coding_loss}, rel=1e-4)
    assert ended == [first_step + 1, first_step + 2, first_step + 3]
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters()):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6), name


def test_moving_average_follows_every_step_but_no_micro_batch():
    images, targets = make_images(48)
    model = make_model()
    ema = ModelEmaV3(model, decay=0.75)
    expected = {name: value.clone() for name, value in model.state_dict().items() if value.is_floating_point()}

    def after_step(step):
        for name, value in model.state_dict().items():
            if name in expected:  # the first update takes the model as it is
                expected[name] = value.clone() if step == 1 else 0.75 * expected[name] + 0.25 * value

    train(model, nesterov(model), list(zip(images.split(8), targets.split(8))), after_step=after_step,
          accumulation=2, ema=ema)
    for name, value in expected.items():
        assert torch.allclose(ema.module.state_dict()[name], value, rtol=1e-5, atol=1e-6), name


def test_gradients_are_masked_by_the_classes_of_the_images():
    """Images of one class leave the outputs of the subNNs that are inactive for it alone."""
    images, _ = make_images(8)
    model = make_model(energy_norm=False)  # through which each subNN learns from all
    torch.nn.init.ones_(model.layer3[0].bn3.weight)  # timm starts it at 0, behind which nothing learns
    before = model.layer3[0].conv3.weight.detach().clone()
    train(model, torch.optim.SGD(model.parameters(), 0.1), [(images, torch.full((8,), 4))], mu=0.0, mask_grads=True)
    moved = (model.layer3[0].conv3.weight != before).flatten(1).any(0)
    active = model.codewords('layer3.0')[4].bool()
    assert torch.equal(moved.view(10, -1).any(1), active) and torch.equal(moved.view(10, -1).all(1), active)


def test_mixed_precision_reaches_the_model():
    model = make_model('resnext11_10x11d')
    seen = []
    model.layer3.register_forward_hook(lambda module, inputs, output: seen.append(module[0].conv1(inputs[0]).dtype))
    images, targets = make_images(8)
    criterion, augment, replica, progress = make_parts(model, 1)
    evaluate(model, criterion, augment, FixedBatches([(images, targets)]), replica, progress, torch.bfloat16)
    assert seen == [torch.bfloat16]
