"""The quadratic energies are the paper's: output, energies and every gradient equal the materialised form's."""
import pytest
import timm
import torch
from materialised import assert_same_training_step, materialised_block

import timm_coded
from timm_coded.models.energy import self_product, subnn_energies

MODELS = {
    'coded_resnext29_10x11d': dict(num_classes=10, img_size=8),
    'coded_resnext29_20x6d': dict(num_classes=100, img_size=8),
    'coded_resnext50_32x4d': dict(num_classes=1000, img_size=64),
}
FORMS = {'gram': 0, 'convolution': 128}


def build(name, form, **kwargs):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=MODELS[name]['num_classes'], zero_init_last=False, **kwargs).double()
    if FORMS[form]:
        timm_coded.pack_grouped_convs(model, FORMS[form])
    return model


def images(name, batch=3):
    size = MODELS[name]['img_size']
    return torch.randn(batch, 3, size, size, dtype=torch.float64)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('name', MODELS)
def test_training_step_equals_the_materialised_form_to_1e_10(name, form):
    model = build(name, form, drop_subnn=0.).train()
    assert_same_training_step(model, images(name))


@pytest.mark.parametrize('form', FORMS)
def test_drop_subnn_and_removal_equal_the_materialised_form_to_1e_10(form):
    model = build('coded_resnext29_20x6d', form).train()
    x = images('coded_resnext29_20x6d')
    drop = {n: torch.bernoulli(torch.full((3, 20), 0.7)).double() / 0.7 for n in (8, 4)}
    one, each = torch.ones(20).double(), torch.bernoulli(torch.full((3, 20), 0.6)).double()
    one[[0, 7]] = 0
    model.draw_drop_masks = lambda x: drop
    assert_same_training_step(model, x, keep={'layer2.1': one, 'layer3.2': each}, drop=drop)


@pytest.mark.parametrize('form', FORMS)
def test_without_energy_norm_the_step_equals_the_materialised_form_to_1e_10(form):
    model = build('coded_resnext29_20x6d', form, energy_norm=False).train()
    x = images('coded_resnext29_20x6d')
    drop = {n: torch.bernoulli(torch.full((3, 20), 0.7)).double() / 0.7 for n in (8, 4)}
    model.draw_drop_masks = lambda x: drop
    keep = {'layer2.1': torch.bernoulli(torch.full((3, 20), 0.6)).double()}
    assert_same_training_step(model, x, keep=keep, drop=drop, energy_norm=False)


def test_without_energy_norm_energies_grow_with_the_square_of_the_outputs():
    model = build('coded_resnext29_10x11d', 'gram', energy_norm=False).eval()
    block, x = model.layer3[1], torch.randn(2, 1024, 4, 4, dtype=torch.float64)
    energies = []
    block(x, energies=energies)
    with torch.no_grad():
        block.conv3.weight.mul_(3)
    block(x, energies=energies)
    torch.testing.assert_close(energies[1], 9 * energies[0])


def test_drop_per_block_draws_a_mask_for_each_block_and_equals_the_materialised_form_to_1e_10():
    model = build('coded_resnext29_20x6d', 'gram', drop_per_block=True, drop_subnn=0.3).train()
    x = images('coded_resnext29_20x6d')
    torch.manual_seed(7)
    drop = {name: torch.empty(3, 20).bernoulli_(0.7) / 0.7 for name in model.coded_blocks}
    assert not any(torch.equal(drop['layer2.0'], drop[name]) for name in ('layer2.1', 'layer2.2'))
    torch.manual_seed(7)
    assert_same_training_step(model, x, drop=drop)


def test_drop_per_block_is_off_in_evaluation():
    x = images('coded_resnext29_20x6d')
    each = build('coded_resnext29_20x6d', 'gram', drop_per_block=True, drop_subnn=0.5).eval()
    assert torch.equal(each(x), build('coded_resnext29_20x6d', 'gram').eval()(x))


def test_removed_subnns_have_no_energy_and_the_rest_still_sum_to_n():
    model = build('coded_resnext29_10x11d', 'gram').eval()
    mask = torch.tensor([0, 1, 1, 1, 0, 1, 1, 1, 1, 1])
    _, energies = model.forward_energies(images('coded_resnext29_10x11d'), {'layer3.1': mask})
    energies = dict(zip(model.coded_blocks, energies))
    assert torch.equal(energies['layer3.1'][:, mask == 0], torch.zeros(3, 2).double())
    for energy in energies.values():
        torch.testing.assert_close(energy.sum(1), torch.full((3,), 10.).double())


def test_removal_comes_before_the_normalisation_and_keeps_the_divisor():
    model = build('coded_resnext29_10x11d', 'gram').eval()
    block, x = model.layer3[1], torch.randn(2, 1024, 4, 4, dtype=torch.float64)
    keep = torch.ones(10).double()
    keep[:9] = 0
    energies = []
    block(x, keep={'layer3.1': keep}, energies=energies)
    # the one subNN left carries all of it: E_n / (E_n / N) = N
    torch.testing.assert_close(energies[0][:, 9], torch.full((2,), 10.).double())


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_energies_in_the_gram_form_have_derivatives_of_both_modes_and_of_second_order(layout):
    z = torch.randn(2, 12, 3, 2, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    weight = torch.randn(5, 12, 1, 1, dtype=torch.float64, requires_grad=True)

    def energies(z, weight):
        return subnn_energies(z, weight, 4)

    torch.autograd.gradcheck(energies, (z, weight), check_forward_ad=True)
    torch.autograd.gradgradcheck(energies, (z, weight))
    torch.autograd.gradcheck(self_product, z.flatten(2), check_forward_ad=True)
    torch.autograd.gradcheck(self_product, z.flatten(2).transpose(1, 2), check_forward_ad=True)
    each = torch.func.vmap(torch.func.grad(lambda z: energies(z[None], weight).pow(2).sum()))(z)
    torch.testing.assert_close(each, torch.autograd.grad(energies(z, weight).pow(2).sum(), z)[0])


@pytest.mark.filterwarnings('ignore:There is a performance drop:UserWarning')
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_batched_gradients_of_the_gram_form_are_those_one_by_one(layout):
    z = torch.randn(2, 12, 3, 2, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    weight = torch.randn(5, 12, 1, 1, dtype=torch.float64, requires_grad=True)
    energies = subnn_energies(z, weight, 4)
    directions = torch.randn(3, *energies.shape, dtype=torch.float64)
    batched = torch.autograd.grad(energies, (z, weight), directions, retain_graph=True, is_grads_batched=True)
    for index, direction in enumerate(directions):
        alone = torch.autograd.grad(energies, (z, weight), direction, retain_graph=True)
        torch.testing.assert_close([one[index] for one in batched], list(alone))


def test_energies_in_the_convolution_form_have_no_derivatives_of_second_order_rather_than_wrong_ones():
    z = torch.randn(2, 12, 3, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 12, 1, 1, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda z, weight: subnn_energies(z, weight, 4, 2), (z, weight))
    first, = torch.autograd.grad(subnn_energies(z, weight, 4, 2).pow(2).sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        first.sum().backward()


def test_in_channels_last_energies_are_the_same_and_the_gradient_is_in_that_layout():
    z = torch.randn(2, 12, 3, 5, dtype=torch.float64)
    weight = torch.randn(5, 12, 1, 1, dtype=torch.float64)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = z.clone(memory_format=layout).requires_grad_()
        energies = subnn_energies(x, weight, 4)
        gradient, = torch.autograd.grad(energies.pow(2).sum(), x)
        assert gradient.is_contiguous(memory_format=layout)
        results.append((energies, gradient))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('form', FORMS)
def test_energies_gradients_under_bf16_autocast_are_within_2_percent(form):
    z, weight = torch.randn(4, 32, 7, 7).relu().requires_grad_(), torch.randn(64, 32, 1, 1).requires_grad_()
    gradients = []
    for enabled in (False, True):
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=enabled):
            energies = subnn_energies(z, weight, 8, {'gram': 0, 'convolution': 4}[form])
        gradients.append(torch.autograd.grad(energies.log().sum(), (z, weight)))
    for exact, narrow in zip(*gradients):
        assert narrow.dtype == torch.float32
        assert (narrow - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize('form', FORMS)
def test_silent_block_gives_zeros_and_finite_gradients(form):
    model = build('coded_resnext29_10x11d', form).train()
    block = model.layer3[1]
    torch.nn.init.zeros_(block.conv3.weight)
    energies = []
    x = torch.randn(2, 1024, 4, 4, dtype=torch.float64, requires_grad=True)
    y = block(x, energies=energies)
    assert torch.equal(energies[0], torch.zeros(2, 10).double())
    torch.testing.assert_close(y, torch.relu(x + block.bn3.bias.view(1, -1, 1, 1)))
    (y.sum() + (energies[0] - 1).pow(4).sum()).backward()
    assert torch.isfinite(x.grad).all()
    for name, p in block.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name


def test_all_subnns_removed_leaves_the_shortcut():
    model = build('coded_resnext29_10x11d', 'gram').eval()
    block, x = model.layer3[1], torch.randn(2, 1024, 4, 4, dtype=torch.float64)
    y = block(x, keep={'layer3.1': torch.zeros(10).double()})
    torch.testing.assert_close(y, torch.relu(x + block.bn3(torch.zeros_like(x))))


@pytest.mark.parametrize('form', FORMS)
def test_energies_under_bf16_autocast_are_float32_nonnegative_and_within_2_percent(form):
    model = build('coded_resnext50_32x4d', form).float().eval()
    # block by block on the same input, so that the energies' own error is seen and not what earlier layers add
    with torch.no_grad():
        for name in model.coded_blocks:
            block = model.get_submodule(name)
            x_block = torch.randn(2, block.conv1.in_channels, 7, 7)
            expected = materialised_block(block, x_block)[1]
            energies = []
            with torch.autocast('cpu', dtype=torch.bfloat16):
                block(x_block, energies=energies)
            assert energies[0].dtype == torch.float32
            assert (energies[0] >= 0).all()
            assert ((energies[0] - expected).abs() / expected).max().item() < 0.02


def test_energies_of_a_bf16_model_are_float32_and_its_logits_bf16():
    model = timm.create_model('coded_resnext29_10x11d').eval().bfloat16()
    logits, energies = model.forward_energies(torch.randn(2, 3, 16, 16).bfloat16())
    assert logits.dtype == torch.bfloat16
    assert {energy.dtype for energy in energies} == {torch.float32}


def test_drop_subnn_masks_are_shared_by_the_blocks_of_a_scheme_and_not_between_schemes():
    torch.manual_seed(1)
    model = build('coded_resnext29_20x6d', 'gram', drop_subnn=0.5).train()
    dropped = {}
    for name in model.coded_blocks:
        block = model.get_submodule(name)
        block.act2.inplace = False
        block.act2.register_forward_hook(lambda m, args, out: out + 1)  # no channel is zero unless dropped
        block.conv3.register_forward_pre_hook(
            lambda m, args, name=name: dropped.update({name: args[0].reshape(len(args[0]), 20, -1).abs().sum(2) == 0}))
    energies = model.forward_energies(images('coded_resnext29_20x6d', batch=8))[1]
    for stage in ('layer2', 'layer3'):
        masks = [mask for name, mask in dropped.items() if name.startswith(stage)]
        assert len(masks) == 3 and all(torch.equal(mask, masks[0]) for mask in masks)
        assert 0.3 < masks[0].double().mean() < 0.7
        assert not torch.equal(masks[0][0], masks[0][1])  # one draw a sample
    assert not torch.equal(dropped['layer2.0'], dropped['layer3.0'])
    # the coding loss sees the energies before the drop
    assert all((energy > 0).all() for energy in energies)


def test_drop_subnn_scales_the_kept_and_is_off_in_evaluation():
    model = timm.create_model('coded_resnext29_10x11d', drop_subnn=0.25).train()
    mask = torch.cat([model.draw_drop_masks(torch.zeros(4000, 1))[n] for n in (5, 3)])
    assert mask.unique().tolist() == pytest.approx([0, 4 / 3])
    assert mask.mean().item() == pytest.approx(1, abs=0.02)
    assert model.eval().draw_drop_masks(torch.zeros(2, 1)) == {}
