"""Networks of the default layout run in channels_last on a CPU; values, modules and the outer layout stay."""
import copy

import pytest
import timm
import torch

from timm_coded import pack_grouped_convs


def build(**options):
    torch.manual_seed(0)
    return timm.create_model('coded_resnext50_32x4d', num_classes=10, **options).double()


def images(**options):
    return torch.randn(3, 3, 33, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1), **options)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def layouts(model, layer):
    """A list that gets whether what `layer` takes is in channels_last."""
    seen = []
    model.get_submodule(layer).register_forward_pre_hook(
        lambda module, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last)))
    return seen


def timm_stages(model, x):
    """The features [B, C, H, W] by the modules, one after the other, in the layout of x."""
    x = model.maxpool(model.act1(model.bn1(model.conv1(x))))
    for name in model.stage_names:
        x = getattr(model, name)(x)
    return x


@pytest.mark.parametrize('training', [False, True])
def test_features_gradients_and_running_statistics_are_those_of_the_modules_in_the_default_layout(training):
    ours = build(drop_subnn=0.).train(training)
    theirs = copy.deepcopy(ours)
    results = []
    for features, model in ((ours.forward_features, ours), (lambda x: timm_stages(theirs, x), theirs)):
        x = images().requires_grad_()
        y = features(x)
        (y * torch.arange(y.numel()).reshape(y.shape).sin()).sum().backward()
        gradients = [parameter.grad for name, parameter in model.named_parameters() if not name.startswith('fc.')]
        results.append([y, x.grad, *gradients, *model.buffers()])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('options', [{}, {'stem_type': 'deep'}, {'stem_type': 'conv3x3'}, {'avg_down': True}])
@pytest.mark.parametrize('layer', ['maxpool', 'layer1', 'layer4.2.conv3'])
def test_all_layers_run_in_channels_last_and_the_features_are_in_the_default_layout(layer, options):
    model = build(**options).eval()
    seen = layouts(model, layer)
    assert model.forward_features(images()).is_contiguous()
    assert seen == [True]


def test_features_on_the_way_are_in_the_default_layout_too():
    model = build().eval()
    seen = layouts(model, 'layer4')
    last, features = model.forward_intermediates(images())
    assert all(feature.is_contiguous() for feature in [last, *features]) and seen == [True]
    assert torch.equal(last, model.forward_features(images()))


def test_a_single_image_stays_in_the_default_layout():
    model = build().eval()
    seen = layouts(model, 'maxpool')
    assert model.forward_features(images()[:1]).is_contiguous()
    assert seen == [False]


@pytest.mark.parametrize('num_images', [1, 3])
@pytest.mark.parametrize('layout', [lambda x: x, channels_last])
def test_features_of_a_network_in_channels_last_stay_in_it(layout, num_images):
    model = build().eval().to(memory_format=torch.channels_last)
    assert model.forward_features(layout(images()[:num_images])).is_contiguous(memory_format=torch.channels_last)


def test_a_stem_without_parameters_runs():
    model = build().eval()
    model.conv1 = torch.nn.Upsample(scale_factor=0.5)
    model.bn1 = torch.nn.Conv2d(3, 64, 1).double()
    assert model.forward_features(images()).is_contiguous()


def test_a_packed_network_stays_in_the_default_layout_where_its_stem_pools_first():
    model = pack_grouped_convs(build())
    seen = layouts(model, 'layer1')
    assert model.forward_features(images()).is_contiguous()
    assert model.forward_intermediates(images())[0].is_contiguous()
    assert seen == [False, False]


def test_removed_and_learning_subnns_and_checkpointing_are_those_of_the_default_layout():
    model = build(drop_subnn=0.).train()
    generator = torch.Generator().manual_seed(2)
    keep, learn = ({block: torch.rand(3, 32, generator=generator).round() for block in model.coded_blocks}
                   for _ in range(2))
    results = []
    for x in (images(), images().transpose(2, 3).contiguous().transpose(2, 3)):  # of no layout: all in the default one
        for checkpointing in (False, True):
            model.set_grad_checkpointing(checkpointing)
            model.zero_grad()
            logits, energies = model.forward_energies(x, keep, learn)
            (logits.square().sum() + sum(energy.square().sum() for energy in energies)).backward()
            results.append([logits, *energies, *(parameter.grad for parameter in model.parameters())])
    for result in results[:-1]:
        torch.testing.assert_close(result, results[-1], rtol=1e-8, atol=1e-8)


def test_graphs_leave_the_layout_to_their_compiler():
    model = build().eval()
    exported = torch.export.export(model, (images(),))
    calls = [str(node.target) for node in exported.graph.nodes if node.op == 'call_function']
    stem = calls[:next(index for index, call in enumerate(calls) if 'max_pool' in call)]
    assert [call.split('.')[1] for call in stem if 'add_' not in call] == ['conv2d', 'batch_norm', 'relu_'], stem
    torch.testing.assert_close(exported.module()(images()), model(images()))
    traced = torch.jit.trace(model, images())
    assert 'aten::permute' not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(images()), model(images()))


def test_images_of_one_channel_stay_in_the_layout_of_their_network():
    for layout in (torch.contiguous_format, torch.channels_last):
        model = build(in_chans=1).eval().to(memory_format=layout)
        x = images()[:, :1].contiguous(memory_format=layout)
        seen = layouts(model, 'layer1')
        assert model.forward_features(x).stride() == timm_stages(model, x).stride()
        assert seen == [layout == torch.channels_last] * 2


def test_gradients_of_each_sample_are_those_of_samples_alone():
    model = build().eval()
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def loss(parameters, image):
        return torch.func.functional_call(model, (parameters, buffers), (image[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, images())['conv1.weight']
    for image, actual in zip(images(), each, strict=True):
        model.zero_grad()
        model(image[None]).square().sum().backward()
        torch.testing.assert_close(actual, model.conv1.weight.grad)
