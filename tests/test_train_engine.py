import io

import pytest
import timm
import torch
import torch.nn.functional as F

import timm_coded
from timm_coded.train import replicas
from timm_coded.train.device_augment import DeviceAugment
from timm_coded.train.engine import evaluate, train_epoch
from timm_coded.train.data.loader import IGNORED
from timm_coded.train.progress import Progress

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class FixedBatches(list):
    num_workers = 0


def make_model(name: str = 'coded_resnext11_10x11d') -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10, channels=(16, 32, 64))


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


def test_training_steps_equal_those_written_out():
    images, targets = make_images(24)
    model, twin = make_model(), make_model()
    criterion, augment, replica, progress = make_parts(model, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)
    torch.manual_seed(3)
    metrics = train_epoch(model, criterion, optimizer, augment, FixedBatches(zip(images.split(8), targets.split(8))),
                          replica, progress, clip_grad=1.0)

    velocity = [torch.zeros_like(parameter) for parameter in twin.parameters()]
    losses, coding_losses = [], []
    twin.train()
    torch.manual_seed(3)  # of dropSubNN's masks
    for batch, target in zip(images.split(8), targets.split(8)):
        logits, energies = twin.forward_energies(normalise(batch))
        coding = 0
        for block, energy in zip(twin.coded_blocks, energies):
            words = twin.codewords(block).float()
            coding = coding + ((words[0].mean() * energy - words[target]) ** 4).mean()
        loss = F.cross_entropy(logits, target)
        grads = torch.autograd.grad(loss + 6 * coding, list(twin.parameters()))
        scale = min(1.0, 1.0 / torch.stack([grad.norm() for grad in grads]).norm().item())
        with torch.no_grad():
            for parameter, grad, speed in zip(twin.parameters(), grads, velocity):
                speed.mul_(0.9).add_(scale * grad)
                parameter.sub_(0.1 * (scale * grad + 0.9 * speed))
        losses.append(loss.item())
        coding_losses.append(coding.item())

    assert metrics == pytest.approx({'loss': sum(losses) / 3, 'coding_loss': sum(coding_losses) / 3}, rel=1e-4)
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters()):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5), name


def test_mixed_precision_reaches_the_model():
    model = make_model('resnext11_10x11d')
    seen = []
    model.layer3.register_forward_hook(lambda module, inputs, output: seen.append(module[0].conv1(inputs[0]).dtype))
    images, targets = make_images(8)
    criterion, augment, replica, progress = make_parts(model, 1)
    evaluate(model, criterion, augment, FixedBatches([(images, targets)]), replica, progress, torch.bfloat16)
    assert seen == [torch.bfloat16]
