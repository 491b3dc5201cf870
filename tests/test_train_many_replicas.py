"""N replicas do what one process would: training, random numbers, evaluation, and how often they reduce."""
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from replica_work import (
    BATCH,
    CLIP,
    DECAY,
    EVALUATED,
    FROZEN_BATCH,
    LR,
    MEAN,
    MOMENTUM,
    MU,
    STD,
    STEPS,
    everything,
    make_grown_model,
    make_images,
    make_model,
    run_replicas,
)
from timm.layers import freeze_batch_norm_2d

CASES = [('cpu', 1), ('cpu', 2), ('cpu', 3), pytest.param(('xla', 2), marks=pytest.mark.slow)]


@pytest.fixture(scope='module', params=CASES, ids=lambda case: '-'.join(map(str, case)))
def found(request, tmp_path_factory):
    """Device, number of replicas, and what each of them found."""
    device, world = request.param
    if device == 'xla':
        pytest.importorskip('torch_xla')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OMP_NUM_THREADS', '1')
        return device, world, run_replicas(everything, world, tmp_path_factory.mktemp('replicas'), device)


def normalise(images):
    return (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def losses(model, images, targets):
    """Equations (5) and (6), and the early decoders' hits, written out."""
    logits, energies = model.forward_energies(normalise(images))
    coding, hits = {}, {}
    for block, energy in zip(model.coded_blocks, energies):
        words = model.codewords(block).float()
        ratio = words[0].mean()
        coding[block] = ((ratio * energy - words[targets]) ** 4).mean()
        hits[block] = int((torch.cdist(ratio * energy, words).argmin(1) == targets).sum())
    return logits, F.cross_entropy(logits, targets), coding, hits


def gradients(model, images, targets):
    _, loss, coding, _ = losses(model, images, targets)
    return torch.autograd.grad(loss + MU * sum(coding.values()), list(model.parameters()))


def descend(model, velocity, grads):
    """A step of SGD with momentum, weight decay and clipping, written out."""
    scale = min(1.0, CLIP / torch.cat([grad.flatten() for grad in grads]).norm().item())
    with torch.no_grad():
        for parameter, speed, grad in zip(model.parameters(), velocity, grads):
            speed.mul_(MOMENTUM).add_(scale * grad + DECAY * parameter)
            parameter.sub_(LR * speed)


def assert_same_parameters(states, expected):
    for state in states:
        for name, parameter in expected.named_parameters():
            torch.testing.assert_close(
                state[name], parameter.detach(), rtol=1e-4, atol=2e-6, msg=lambda text: name + text)


def test_replicas_train_as_one_process_with_batch_norm_of_each_part_by_itself(found):
    device, world, results = found
    model = make_model().train()
    counts = {}  # of the numbers that a layer's variance is of
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_hook(lambda layer, inputs, output, name=name: counts.__setitem__(
                f'{name}.running_var', inputs[0][:, 0].numel()))
    velocity = [torch.zeros_like(parameter) for parameter in model.parameters()]
    ghosts = [deepcopy(dict(model.named_buffers())) for _ in range(world)]  # each part's running statistics
    images, targets = make_images(STEPS * world * BATCH)
    for step_images, step_targets in zip(images.split(world * BATCH), targets.split(world * BATCH)):
        sums = [torch.zeros_like(parameter) for parameter in model.parameters()]
        for ghost, part, classes in zip(ghosts, step_images.split(BATCH), step_targets.split(BATCH)):
            for name, buffer in model.named_buffers():
                buffer.data = ghost[name]
            for total, grad in zip(sums, gradients(model, part, classes)):
                total += grad / world
        descend(model, velocity, sums)

    states = [result['trained']['model'] for result in results]
    assert_same_parameters(states, model)
    names = [name for name in ghosts[0] if 'running' in name]
    assert names
    for name in names:
        mean = torch.stack([ghost[name] for ghost in ghosts]).mean(0)
        if device == 'xla' and name in counts:  # torch_xla's running variance is the biased one
            left = 0.9 ** STEPS  # of the 1 that it started as
            mean = left + (mean - left) * (1 - 1 / counts[name])
        for state in states:
            torch.testing.assert_close(state[name], mean, rtol=1e-4, atol=1e-5, msg=lambda text: name + text)
    for state in states[1:]:
        assert all(torch.equal(state[name], value) for name, value in states[0].items()), 'all replicas have the same'


def test_micro_batches_of_all_replicas_make_the_step_of_one_large_batch(found):
    _, world, results = found
    if FROZEN_BATCH % (BATCH * world):
        pytest.skip('these replicas do not divide the step')
    model = freeze_batch_norm_2d(make_model())
    velocity = [torch.zeros_like(parameter) for parameter in model.parameters()]
    images, targets = make_images(STEPS * FROZEN_BATCH)
    for part, classes in zip(images.split(FROZEN_BATCH), targets.split(FROZEN_BATCH)):
        descend(model, velocity, gradients(model, part, classes))
    assert_same_parameters([result['accumulated']['model'] for result in results], model)


def test_random_numbers_and_masks_repeat_and_differ_between_replicas_and_steps(found):
    _, world, results = found
    for kind in ('host', 'device', 'masked'):
        first, again, other = zip(*([torch.as_tensor(step[kind]) for step in result['random']] for result in results))
        assert all(map(torch.equal, first, again)), kind
        drawn = {tuple(numbers.flatten().tolist()) for numbers in (*first, *other)}
        assert len(drawn) == 2 * world, kind
    if world > 1:
        assert all(len(set(numbers)) == world for numbers in zip(*(result['random'][0]['host'] for result in results)))


@pytest.mark.parametrize('count', EVALUATED)
def test_evaluation_counts_every_image_once_whatever_the_number_of_replicas(found, count):
    _, _, results = found
    model = make_grown_model().eval()
    images, targets = make_images(count)
    with torch.no_grad():
        logits, loss, coding, hits = losses(model, images, targets)
    order = logits.argsort(1, descending=True)
    metrics = results[0]['evaluated'][count]
    assert all(result['evaluated'][count] == metrics for result in results), 'all replicas have the same'
    expected = {f'decoder_{block}': number for block, number in hits.items()}
    expected['top1'] = int((order[:, 0] == targets).sum())
    expected['top5'] = int((order[:, :5] == targets[:, None]).sum())
    for name, number in expected.items():
        assert metrics.pop(name) == 100 * (number / count), name
    expected = {f'coding_loss_{block}': part.item() for block, part in coding.items()}
    expected |= {'coding_loss': sum(expected.values()), 'loss': loss.item()}
    assert metrics == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize('kind', ['long', 'accumulated'])
def test_a_step_reduces_once_and_votes_are_apart_and_rare(found, kind):
    _, world, results = found
    for result in results:
        trained = result[kind]
        gradients, statistics = trained['gradients'], trained['statistics']
        steps = [gradients] * STEPS if kind == 'accumulated' else [gradients] * 8 + [1] + [gradients]
        assert trained['reduced'] == (steps + [statistics] if world > 1 else [])


def test_nothing_is_compiled_after_the_first_step(found):
    device, _, results = found
    for result in results:
        for kind in ('trained', 'accumulated', 'long'):
            first, *others = result[kind]['compiled']
            assert not any(others), kind
            assert device == 'xla' or first == 0
