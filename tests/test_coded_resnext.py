"""Coded models are timm models: every contract of timm's own model tests, held natively."""
import copy

import pytest
import timm
import torch
import torch.fx
from timm.models import group_parameters

import timm_coded.models
from timm_coded.models import CodedResNet

CODED = ['coded_resnext50_32x4d', 'coded_resnext101_32x4d', 'coded_resnext29_10x11d', 'coded_resnext29_20x6d',
         'coded_resnext11_10x11d']
STOCK = ['resnext29_10x11d', 'resnext29_20x6d', 'resnext11_10x11d']


def build(name, **kwargs):
    torch.manual_seed(0)
    return timm.create_model(name, **{'zero_init_last': False, **kwargs}).eval()


def images(name, batch=2, chans=3):
    size = 64 if '50' in name or '101' in name else 16
    return torch.randn(batch, chans, size, size)


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_all_models_are_registered():
    assert set(timm.list_models(module='coded_resnext')) == set(CODED + STOCK)


def test_parameter_counts_are_the_papers_and_those_of_the_stock_twins():
    assert num_parameters(build('coded_resnext50_32x4d')) == 25_028_904 == num_parameters(build('resnext50_32x4d'))
    assert num_parameters(build('coded_resnext101_32x4d')) == num_parameters(build('resnext101_32x4d'))
    for name, millions in {'resnext29_10x11d': 4.64, 'resnext29_20x6d': 4.75}.items():
        assert num_parameters(build(f'coded_{name}')) == num_parameters(build(name))
        assert round(num_parameters(build(name)) / 1e6, 2) == millions


@pytest.mark.parametrize('name, per_stage', [
    ('coded_resnext50_32x4d', [(256, 4, 32, 32, 3), (512, 8, 32, 32, 4), (1024, 16, 16, 32, 6), (2048, 32, 8, 32, 3)]),
    ('coded_resnext29_10x11d', [(256, 11, 10, 10, 3), (512, 22, 5, 10, 3), (1024, 44, 3, 10, 3)]),
    ('coded_resnext29_20x6d', [(256, 6, 20, 20, 3), (512, 12, 8, 20, 3), (1024, 24, 4, 20, 3)]),
])
def test_architecture_is_table_1(name, per_stage):
    model = build(name)
    stages = [getattr(model, stage) for stage in model.stage_names]
    found = [
        (s[0].conv3.out_channels, s[0].conv2.in_channels // s[0].conv2.groups, s[0].num_active, s[0].conv2.groups,
         len(s))
        for s in stages]
    assert found == per_stage
    for block in model.coded_blocks:
        words = model.codewords(block)
        assert words.shape == (model.num_classes, model.num_subnns)
        assert set(words.sum(1).tolist()) == {model.get_submodule(block).num_active}


@pytest.mark.parametrize('name', ['resnext50_32x4d', 'resnext29_10x11d'])
def test_a_stock_model_and_the_coded_one_with_ratio_1_are_one_function(name):
    stock = build(name)
    num_stages = 4 if name == 'resnext50_32x4d' else 3
    subnns = 32 if name == 'resnext50_32x4d' else 10
    coded = build(f'coded_{name}', num_active=(subnns,) * num_stages)
    coded.load_state_dict(stock.state_dict())
    x = images(name)
    assert coded.coded_blocks == []
    torch.testing.assert_close(coded(x), stock(x))
    assert torch.equal(coded(x[:1]), stock(x[:1]))  # of a batch, in another layout, sums are rounded in another order
    logits, energies = coded.forward_energies(x[:1])
    assert torch.equal(logits, stock(x[:1])) and energies == []


def test_a_stock_checkpoint_loads_with_all_keys_matched(tmp_path):
    stock = build('resnext50_32x4d')
    torch.save(stock.state_dict(), tmp_path / 'stock.pth')
    warm = timm.create_model('coded_resnext50_32x4d', checkpoint_path=str(tmp_path / 'stock.pth'))
    fresh = build('coded_resnext50_32x4d')
    result = fresh.load_state_dict(stock.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    filtered = timm_coded.models.checkpoint_filter_fn(stock.state_dict(), build('coded_resnext50_32x4d'))
    assert filtered.keys() == fresh.state_dict().keys()
    for key, value in stock.state_dict().items():
        assert torch.equal(warm.state_dict()[key], value)
        assert torch.equal(fresh.state_dict()[key], value)
    expected = timm_coded.coding_scheme(1000, 32, 8).codewords
    assert torch.equal(warm.codewords('layer4.0'), torch.from_numpy(expected.copy()))


@pytest.mark.parametrize('name', CODED)
def test_forward_returns_the_logits_of_forward_energies(name):
    model = build(name)
    x = images(name)
    logits, energies = model.forward_energies(x)
    assert torch.equal(logits, model(x))
    assert logits.shape == (2, model.num_classes)
    assert len(energies) == len(model.coded_blocks)
    for energy in energies:
        assert energy.shape == (2, model.num_subnns) and energy.dtype == torch.float32
        torch.testing.assert_close(energy.sum(1), torch.full((2,), float(model.num_subnns)))


@pytest.mark.parametrize('name', ['coded_resnext50_32x4d', 'coded_resnext29_10x11d'])
def test_forward_features_and_head_make_forward(name):
    model = build(name)
    x = images(name)
    features = model.forward_features(x)
    assert features.shape[1] == model.num_features
    assert torch.equal(model.forward_head(features), model(x))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    model.reset_classifier(0, '')
    assert torch.equal(model(x), features)
    assert build(name, num_classes=0, global_pool='')(x).shape == features.shape


@pytest.mark.parametrize('feature_cls', ['getter', 'list', 'dict', 'hook'])
@pytest.mark.parametrize('name', ['coded_resnext50_32x4d', 'coded_resnext29_10x11d'])
def test_features_only_gives_the_stages_outputs(name, feature_cls):
    model = build(name)
    x = images(name)
    last, intermediates = model.forward_intermediates(x)
    assert torch.equal(last, model.forward_features(x))
    assert torch.equal(last, intermediates[-1])
    assert [tuple(f.shape[1:]) for f in intermediates] == [
        (info['num_chs'], x.shape[2] // info['reduction'], x.shape[3] // info['reduction'])
        for info in model.feature_info]

    wrapper = timm.create_model(name, features_only=True, out_indices=(1, 3), feature_cls=feature_cls).eval()
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith(('fc.', 'codewords_'))}
    prefix = {'getter': 'model.', 'hook': 'body.'}.get(feature_cls, '')
    missing, unexpected = wrapper.load_state_dict({prefix + key: value for key, value in weights.items()}, strict=False)
    assert not [key for key in missing if 'codewords' not in key]
    outputs = wrapper(x[:1])  # of one image, which the model itself leaves in its layout
    outputs = list(outputs.values()) if isinstance(outputs, dict) else outputs
    alone = model.forward_intermediates(x[:1], intermediates_only=True)
    assert torch.equal(outputs[0], alone[1]) and torch.equal(outputs[1], alone[3])
    assert wrapper.feature_info.channels() == [model.feature_info[i]['num_chs'] for i in (1, 3)]


def test_forward_intermediates_takes_timms_arguments():
    model = build('coded_resnext29_10x11d')
    x = images('coded_resnext29_10x11d')
    every = model.forward_intermediates(x, intermediates_only=True)
    assert [torch.equal(a, b) for a, b in zip(model.forward_intermediates(x, 2, intermediates_only=True), every[-2:])]
    stem, second = model.forward_intermediates(x, indices=[0, -2], stop_early=True, intermediates_only=True)
    assert torch.equal(stem, every[0]) and torch.equal(second, every[2])
    for bad in ([4], [-5], 9):
        with pytest.raises(ValueError, match='out of range'):
            model.forward_intermediates(x, indices=bad)


def test_pruned_model_still_runs():
    model = build('coded_resnext29_10x11d')
    assert model.prune_intermediate_layers([1, 2]) == [1, 2]
    assert model(images('coded_resnext29_10x11d')).shape == (2, 512, 8, 8)
    assert model.coded_blocks == ['layer2.0', 'layer2.1', 'layer2.2']


@pytest.mark.parametrize('name', CODED)
def test_reset_classifier_makes_the_codewords_follow(name):
    model = build(name)
    model.reset_classifier(7)
    assert model(images(name)).shape == (2, 7)
    assert all(model.codewords(block).shape == (7, model.num_subnns) for block in model.coded_blocks)
    kept = model.codewords(model.coded_blocks[0]).clone()
    model.reset_classifier(0)
    assert model(images(name)).shape == (2, model.num_features)
    assert torch.equal(model.codewords(model.coded_blocks[0]), kept)
    model.reset_classifier(42 if model.num_subnns > 10 else 11, 'max')
    assert model.codewords(model.coded_blocks[0]).shape[0] == model.num_classes
    assert 'codewords' in ''.join(model.state_dict())


def test_reset_to_more_classes_than_there_are_words_is_refused_and_changes_nothing():
    model = build('coded_resnext29_10x11d')
    with pytest.raises(ValueError, match=r'C\(10, 5\) = 252'):
        model.reset_classifier(1000)
    assert model.num_classes == 10 and model(images('coded_resnext29_10x11d')).shape == (2, 10)


@pytest.mark.parametrize('name', ['coded_resnext50_32x4d', 'coded_resnext29_20x6d'])
def test_group_matcher_covers_every_parameter(name):
    model = build(name)
    groups = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    assert set(groups) == {key for key, _ in model.named_parameters()}
    assert len(set(groups.values())) == sum(len(getattr(model, stage)) for stage in model.stage_names) + 2


@pytest.mark.parametrize('name', ['coded_resnext50_32x4d', 'coded_resnext29_10x11d'])
def test_grad_checkpointing_gives_equal_energies_and_gradients(name):
    target = torch.tensor([1, 3])
    found = []
    for checkpointing in (False, True):
        model = build(name).train()
        model.set_grad_checkpointing(checkpointing)
        loss_fn = timm_coded.CodingLoss(torch.nn.CrossEntropyLoss(), model)
        torch.manual_seed(5)
        x = images(name)
        output = model.forward_energies(x)
        loss_fn(output, target).backward()
        found.append((output, {key: p.grad for key, p in model.named_parameters()}))
    (output, grads), (checkpointed_output, checkpointed_grads) = found
    assert torch.equal(output[0], checkpointed_output[0])
    assert len(checkpointed_output[1]) == len(output[1])
    assert all(torch.equal(a, b) for a, b in zip(output[1], checkpointed_output[1]))
    for key, grad in grads.items():
        torch.testing.assert_close(checkpointed_grads[key], grad, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize('name', ['coded_resnext50_32x4d', 'coded_resnext29_10x11d'])
def test_in_chans(name):
    assert build(name, in_chans=1)(images(name, chans=1)).shape[0] == 2


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('name', CODED)
def test_torchscript(name):
    model = build(name).double()  # in which the order of sums, of another layout of the stem, changes nothing
    x = images(name).double()
    torch.testing.assert_close(torch.jit.script(model)(x), model(x), rtol=1e-9, atol=1e-9)
    model.train()
    scripted = torch.jit.script(model)
    torch.manual_seed(2)
    actual = scripted(x)
    model.load_state_dict(build(name).state_dict())
    torch.manual_seed(2)
    torch.testing.assert_close(actual, model(x), rtol=1e-9, atol=1e-9)  # dropSubNN included


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('name', CODED)
def test_fx_trace_is_equal(name, training):
    model = build(name).train(training).double()
    x = images(name).double()
    traced = torch.fx.symbolic_trace(copy.deepcopy(model))
    torch.manual_seed(3)
    actual = traced(x)
    torch.manual_seed(3)
    expected = model(x)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    torch.manual_seed(3)
    actual = traced(x[:1])
    torch.manual_seed(3)
    assert torch.equal(actual, model(x[:1]))  # of one image, which the model itself leaves in its layout, to the bit


def test_export():
    model = build('coded_resnext29_10x11d')
    x = images('coded_resnext29_10x11d')
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
    x = x[:1]  # of one image, which the model itself leaves in its layout, to the bit
    assert torch.equal(torch.export.export(model, (x,)).module()(x), model(x))

    class Energies(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model.forward_energies(x)

    logits, energies = torch.export.export(Energies(model), (x,)).module()(x)
    assert torch.equal(logits, model(x))
    assert all(torch.equal(a, b) for a, b in zip(energies, model.forward_energies(x)[1]))


@pytest.mark.parametrize('training', [False, True])
def test_compile_has_no_graph_break(training):
    model = build('coded_resnext29_10x11d', drop_subnn=0.).train(training)
    x = images('coded_resnext29_10x11d')
    compiled = torch.compile(copy.deepcopy(model), backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
    with_drop = build('coded_resnext29_10x11d').train()
    assert torch.compile(with_drop, backend='aot_eager', fullgraph=True)(x).shape == (2, 10)


def test_deepcopy_is_independent():
    model = build('coded_resnext29_10x11d')
    copied = copy.deepcopy(model)
    x = images('coded_resnext29_10x11d')
    assert torch.equal(copied(x), model(x))
    copied.reset_classifier(5)
    copied.load_state_dict(copy.deepcopy(copied).state_dict())
    assert model.codewords('layer3.0').shape == (10, 10)


def test_buffers_and_parameters_are_made_on_the_device_asked_for():
    model = timm.create_model('coded_resnext50_32x4d', device='meta')
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {'meta'}
    model.reset_classifier(10)
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {'meta'}


@pytest.mark.parametrize('num_active, message', [
    ((32, 32, 16), 'one entry for each of the 4 stages'),
    (16, 'num_active is 16, expected one entry for each of the 4 stages'),
    ((32, 32, 16, 33), 'stage 4 holds 33'),
    ((32, 32, 0, 8), 'stage 3 holds 0'),
    ((32, 32, (16, 16), 8), 'stage 3 .* 6 blocks'),
    ((32, 32, 15.5, 8), 'stage 3'),
])
def test_num_active_that_does_not_fit_is_an_error(num_active, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model('coded_resnext50_32x4d', num_active=num_active)


def test_num_active_may_differ_between_the_blocks_of_a_stage():
    # Appendix B, (iii): the first 3 blocks of s3 with 16/32, the last 3 with 8/32, s4 with 4/32
    model = build('coded_resnext50_32x4d', num_active=(32, 32, (16, 16, 16, 8, 8, 8), 4))
    assert [model.get_submodule(block).num_active for block in model.coded_blocks] == [16] * 3 + [8] * 3 + [4] * 3
    assert {key for key, _ in model.named_buffers() if 'codewords' in key} == {
        'codewords_16of32', 'codewords_8of32', 'codewords_4of32'}
    assert len(model.forward_energies(images('coded_resnext50_32x4d'))[1]) == 9


@pytest.mark.parametrize('drop_subnn', [-0.1, 1.0])
def test_drop_subnn_must_be_a_probability_below_1(drop_subnn):
    with pytest.raises(ValueError, match='drop_subnn'):
        timm.create_model('coded_resnext11_10x11d', drop_subnn=drop_subnn)


def test_keep_of_an_unknown_block_or_shape_is_an_error():
    model = build('coded_resnext29_10x11d')
    x = images('coded_resnext29_10x11d')
    with pytest.raises(ValueError, match="'layer1.0'; the coded blocks are layer2.0"):
        model.forward_energies(x, {'layer1.0': torch.ones(10)})
    with pytest.raises(ValueError, match=r'\(3,\), expected \(10,\) or \(2, 10\)'):
        model.forward_energies(x, {'layer2.0': torch.ones(3)})
    with pytest.raises(KeyError, match='layer1.0'):
        model.codewords('layer1.0')


def test_small_models_take_images_of_8_pixels():
    assert isinstance(build('coded_resnext11_10x11d'), CodedResNet)
    assert build('coded_resnext11_10x11d')(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_options_script_and_trace_as_they_run(tmp_path):
    options = dict(energy_norm=False, drop_per_block=True)
    model = build('coded_resnext29_10x11d', **options).train()
    x = images('coded_resnext29_10x11d')[:1]  # the model itself leaves one image in its layout
    scripted = torch.jit.script(model)
    scripted.save(tmp_path / 'scripted.pt')
    traced = torch.fx.symbolic_trace(copy.deepcopy(model))
    found = []
    for forward in (model, traced, scripted):
        model.load_state_dict(build('coded_resnext29_10x11d').state_dict())  # the batch norms that scripting shares
        torch.manual_seed(2)
        found.append(forward(x))
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[2], found[0], rtol=1e-4, atol=1e-4)
    last, _ = build('coded_resnext29_10x11d', **options).forward_intermediates(x)
    assert torch.equal(last, build('coded_resnext29_10x11d', **options).forward_features(x))
    assert not torch.equal(last, build('coded_resnext29_10x11d').forward_features(x))


def test_options_pass_through_every_way_of_making_a_model():
    options = dict(energy_norm=False, drop_per_block=True)
    stock = build('resnext50_32x4d').state_dict()
    result = build('coded_resnext50_32x4d', **options).load_state_dict(stock)
    assert not result.missing_keys and not result.unexpected_keys
    x = images('coded_resnext29_10x11d')[:1]  # the model itself leaves one image in its layout
    features = build('coded_resnext29_10x11d', features_only=True, **options)(x)
    assert torch.equal(features[-1], build('coded_resnext29_10x11d', **options).forward_features(x))
