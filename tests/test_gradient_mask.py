"""Gradient masking is the public code's: the same outputs, and gradients only into the subNNs that learn."""
import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from materialised import assert_same_training_step

import timm_coded
from timm_coded import CodingLoss
from timm_coded.models.gradient_mask import masked_gradient_conv

ROOT = Path(__file__).parents[1]


def build(packed=False, name='coded_resnext29_10x11d', **kwargs):
    torch.manual_seed(0)
    model = timm.create_model(name, zero_init_last=False, channels=(16, 32, 64), **kwargs).train()
    return timm_coded.pack_grouped_convs(model) if packed else model


def images(batch=4):
    torch.manual_seed(1)
    return torch.randn(batch, 3, 8, 8)


def gradients(model, learn, mu=2.0, amp=False, x=None):
    """Logits, energies and gradients of a step with the same dropSubNN masks each time."""
    torch.manual_seed(2)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        output = model.forward_energies(images() if x is None else x, learn=learn)
        loss = CodingLoss(torch.nn.CrossEntropyLoss(), model, mu)(output, torch.arange(4))
    model.zero_grad()
    loss.backward()
    return output, {name: p.grad.clone() for name, p in model.named_parameters()}


def random_masks(model, batch=4):
    torch.manual_seed(3)
    return {name: torch.bernoulli(torch.full((batch, 10), 0.5)) for name in model.coded_blocks}


def assert_same_values(actual, expected):
    assert torch.equal(actual[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(actual[1], expected[1], strict=True))


@pytest.mark.parametrize('energy_norm', [True, False])
@pytest.mark.parametrize('packed', [False, True])
def test_masked_step_equals_the_materialised_form_to_1e_10(packed, energy_norm):
    model = build(packed, energy_norm=energy_norm).double()
    drop = {n: torch.bernoulli(torch.full((4, 10), 0.7)).double() / 0.7 for n in (5, 3)}
    model.draw_drop_masks = lambda x: drop
    learn = random_masks(model)
    del learn['layer2.2']  # not named: all learn
    learn['layer3.1'] = learn['layer3.1'][0]  # for all samples
    keep = {'layer3.1': torch.bernoulli(torch.full((4, 10), 0.6)).double()}
    assert_same_training_step(model, images().double(), keep, learn, drop, energy_norm)


@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.parametrize('packed', [False, True])
def test_values_stay_bit_for_bit_and_gradients_change(packed, amp):
    plain, masked = build(packed), build(packed)
    expected, expected_gradients = gradients(plain, None, amp=amp)
    actual, actual_gradients = gradients(masked, random_masks(masked), amp=amp)
    assert_same_values(actual, expected)
    name = 'layer3.2.conv3.weight'
    assert not torch.allclose(actual_gradients[name], expected_gradients[name], rtol=0.1)


@pytest.mark.parametrize('amp', [False, True])
def test_masks_of_ones_are_the_plain_step(amp):
    plain, masked = build(), build()
    x = images().transpose(2, 3)  # of no layout of its own: the network runs it in the default one
    _, expected = gradients(plain, None, amp=amp, x=x)
    _, actual = gradients(masked, {name: torch.ones(10) for name in masked.coded_blocks}, amp=amp, x=x)
    for name, gradient in expected.items():
        assert torch.equal(actual[name], gradient), name


@pytest.mark.parametrize('requires', ['z', 'weight', 'both'])
@pytest.mark.parametrize('amp', [False, True])
def test_gradients_are_those_of_the_two_convolutions_that_it_replaces(amp, requires):
    torch.manual_seed(0)
    z, weight = torch.randn(4, 30, 6, 5), torch.randn(16, 30, 1, 1)
    learn = torch.bernoulli(torch.full((4, 10), 0.5))
    upstream = torch.randn(4, 16, 6, 5)
    leaves = {'z': [z], 'weight': [weight], 'both': [z, weight]}[requires]
    for leaf in leaves:
        leaf.requires_grad_()
    mask = learn.repeat_interleave(3, 1)[:, :, None, None]
    conv = torch.nn.functional.conv2d
    expected = torch.autograd.grad(conv(mask * z, weight) + conv((1 - mask) * z, weight).detach(), leaves, upstream)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        y = masked_gradient_conv(z, weight, learn)
        assert y.dtype == (torch.bfloat16 if amp else torch.float32)
    actual = torch.autograd.grad(y, leaves, upstream.to(y.dtype))
    for gradient, other in zip(actual, expected, strict=True):
        assert gradient.dtype == torch.float32
        assert ((gradient - other).norm() / other.norm()).item() < (0.01 if amp else 1e-6)


def test_subnn_that_learns_from_no_sample_gets_no_gradient_at_all():
    model = build(energy_norm=False)
    learn = torch.ones(10)
    learn[4] = 0
    _, found = gradients(model, {'layer3.2': learn}, mu=0.)
    by_subnn = {
        'conv3.weight': found['layer3.2.conv3.weight'].view(256, 10, -1).abs().sum((0, 2)),
        **{name: found[f'layer3.2.{name}'].view(10, -1).abs().sum(1)
           for name in ('bn2.weight', 'bn2.bias', 'conv2.weight', 'bn1.weight', 'bn1.bias', 'conv1.weight')},
    }
    for name, size in by_subnn.items():
        assert (size > 0).tolist() == [n != 4 for n in range(10)], name


def test_grad_checkpointing_gives_equal_masked_gradients():
    plain, checkpointed = build(drop_per_block=True), build(drop_per_block=True)
    checkpointed.set_grad_checkpointing()
    learn = random_masks(plain)
    expected, expected_gradients = gradients(plain, learn)
    actual, actual_gradients = gradients(checkpointed, learn)
    assert_same_values(actual, expected)
    for name, gradient in expected_gradients.items():
        assert torch.equal(actual_gradients[name], gradient), name


def test_class_masks_are_the_codewords_of_the_samples_and_none_of_ignored_ones():
    model = build()
    masks = model.class_masks(torch.tensor([3, -1, 9], dtype=torch.int32))
    assert list(masks) == model.coded_blocks
    for name, mask in masks.items():
        words = model.codewords(name).float()
        assert mask.dtype == torch.float32
        assert torch.equal(mask, torch.stack([words[3], torch.zeros(10), words[9]]))
        assert torch.equal(model.class_masks(torch.tensor([7, 7], dtype=torch.uint8))[name], words[[7, 7]])
    with pytest.raises(ValueError, match='soft targets: mixup'):
        model.class_masks(torch.rand(3, 10))


def test_learn_of_an_unknown_block_or_shape_is_an_error():
    model = build()
    with pytest.raises(ValueError, match="learn names 'layer1.0'; the coded blocks are layer2.0"):
        model.forward_energies(images(), learn={'layer1.0': torch.ones(10)})
    with pytest.raises(ValueError, match=r"learn\['layer2.0'\] has shape \(3,\), expected \(10,\) or \(4, 10\)"):
        model.forward_energies(images(), learn={'layer2.0': torch.ones(3)})


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # Dynamo's own, of torch.autograd.Function
def test_compiled_step_has_no_graph_break():
    model = build(name='coded_resnext11_10x11d', drop_subnn=0.)
    learn = random_masks(model)
    compiled = torch.compile(copy.deepcopy(model).forward_energies, backend='aot_eager', fullgraph=True)
    logits, _ = compiled(images(), learn=learn)
    torch.testing.assert_close(logits, model.forward_energies(images(), learn=learn)[0], rtol=1e-4, atol=1e-4)


XLA_STEPS = '''
import timm, torch, timm_coded
import torch_xla, torch_xla.debug.metrics as metrics
from timm_coded.models.gradient_mask import masked_gradient_conv

def train(device):
    torch.manual_seed(0)
    model = timm.create_model('coded_resnext11_10x11d', channels=(16, 32, 64), drop_subnn=0.)
    timm_coded.pack_grouped_convs(model)
    model = model.to(device).train()
    criterion = timm_coded.CodingLoss(torch.nn.CrossEntropyLoss(), model, mu=0.5, exponent=3., threshold=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses, compiled = [], []
    torch_xla.sync()
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 3, 8, 8, generator=generator).to(device)
        target = torch.randint(-1, 10, (8,), generator=generator).to(device)
        before = (metrics.metric_data('CompileTime') or [0])[0]
        loss = criterion(model.forward_energies(x, learn=model.class_masks(target)), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch_xla.sync()
        compiled.append((metrics.metric_data('CompileTime') or [0])[0] - before)
        losses.append(loss.detach())
    weights = {name: p.detach().cpu() for name, p in model.named_parameters()}
    return [loss.item() for loss in losses], weights, compiled

losses, weights, _ = train('cpu')
xla_losses, xla_weights, compiled = train('xla')
assert compiled == [1, 0, 0], compiled
assert not [name for name in metrics.counter_names() if name.startswith('aten::') and 'local_scalar' not in name]
torch.testing.assert_close(torch.tensor(xla_losses), torch.tensor(losses), rtol=1e-4, atol=1e-5)
for name, weight in weights.items():
    torch.testing.assert_close(xla_weights[name], weight, rtol=1e-3, atol=1e-5, msg=name)

def gradients(device, amp):
    torch.manual_seed(0)
    z, weight = (torch.randn(shape).to(device).requires_grad_() for shape in ((4, 30, 6, 5), (16, 30, 1, 1)))
    learn, upstream = torch.randint(2, (4, 10)).float().to(device), torch.randn(4, 16, 6, 5).to(device)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=amp):
        y = masked_gradient_conv(z, weight, learn)
    assert y.dtype == (torch.bfloat16 if amp else torch.float32)
    return [gradient.cpu() for gradient in torch.autograd.grad(y, (z, weight), upstream.to(y.dtype))]

for gradient, expected in zip(gradients('xla', amp=True), gradients('cpu', amp=False)):
    assert 0 < (gradient - expected).norm() / expected.norm() < 0.01
'''


def test_masked_steps_on_xla_compile_once_and_equal_the_cpus_and_bf16_is_near():
    pytest.importorskip('torch_xla')
    # a process of its own: torch_xla must be there before the first backward pass
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', XLA_STEPS], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, 'PJRT_DEVICE': 'CPU', 'OMP_NUM_THREADS': '1'})
    assert result.returncode == 0, result.stderr
