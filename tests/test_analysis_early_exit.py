import numpy as np
import pytest
import timm
import torch
from coded_outputs import drawn_outputs, random_network
from materialised import materialised_network

import timm_coded  # noqa: F401  registers the models
from timm_coded.analysis.exits.decoding import agreement, decode_with_margin
from timm_coded.analysis.exits.early_exit import Agreement, EarlyExit, Margin, Traces
from timm_coded.analysis.exits.exit_cost import exit_macs, run_exits, spread_images
from timm_coded.analysis.outputs import collect_outputs
from timm_coded.models import early_decode

RULES = [Margin(0.), Margin(0.01), Margin(0.03), Margin(0.05), Margin(0.06), Margin(1.), Agreement(1), Agreement(2)]


@pytest.fixture(scope='module')
def network(one_thread):
    """A network whose blocks differ in what they tell, and 40 images."""
    model = random_network()
    torch.manual_seed(5)
    noise = torch.randn(40, 3, 16, 16) * torch.linspace(0.2, 3, 40)[:, None, None, None]
    return model, noise + 3 * torch.randn(40, 3, 1, 1)


@pytest.fixture(scope='module')
def stored(network):
    model, images = network
    return collect_outputs(model, [(images, torch.arange(40) % 10)])


def by_hand(model, images, rule):
    """One image at a time through the paper's form of the whole network, and the rule read off its energies."""
    classes, places = [], []
    with torch.no_grad():
        logits, energies = materialised_network(model, images)
    for row in range(len(images)):
        named = []
        for energy, block in zip(energies, model.coded_blocks):
            shares = sorted(((energy[row] * word).sum() / energy[row].sum()).item() for word in model.codewords(block))
            distances = [(energy[row] / 10 * word.sum() - word).norm() for word in model.codewords(block)]
            named.append(int(np.argmin(distances)))
            if isinstance(rule, Margin):
                leave = shares[-1] - shares[-2] >= rule.threshold
            else:
                leave = len(named) >= rule.count and len(set(named[-rule.count:])) == 1
            if leave:
                break
        else:
            named.append(int(logits[row].argmax()))
        classes.append(named[-1])
        places.append(len(named) - 1)
    return classes, places


@pytest.mark.parametrize('rule', RULES, ids=str)
def test_each_image_leaves_where_the_rule_first_holds_and_as_simulated(network, stored, rule):
    model, images = network
    found = EarlyExit(model, rule)(images)
    assert (found.classes.tolist(), found.places.tolist()) == by_hand(model, images, rule)
    simulated = Traces(stored).leave(rule)
    assert torch.equal(found.classes, simulated.classes) and torch.equal(found.places, simulated.places)
    alone = [EarlyExit(model, rule)(images[row:row + 1]) for row in range(5)]
    assert torch.equal(torch.cat([exits.places for exits in alone]), found.places[:5])


class Scripted(torch.nn.Module):
    """Coded blocks whose energies are rows of the image, [B, blocks, N, 1], and a head that sums them."""

    def __init__(self, names, words):
        super().__init__()
        self.coded_blocks, self.words, self.training = names, words, False

    def codewords(self, block):
        return self.words

    def forward_stem(self, x):
        return x

    def named_blocks(self):
        def block(index):
            return lambda x, drop, keep, learn, energies: energies.append(x[:, index, :, 0]) or x
        return [(name, block(index)) for index, name in enumerate(self.coded_blocks)]

    def forward_head(self, x):
        return x.sum((1, 3))


@pytest.mark.parametrize('rule', [*map(Agreement, range(1, 7)), *map(Margin, (0.2, 0.22, 0.24, 0.26))], ids=str)
def test_six_coded_blocks_leave_as_simulated(rule):
    outputs, _ = drawn_outputs(samples=300, taus=6 * [0.])
    random = np.random.default_rng(1)
    for energies in outputs.energies.values():
        energies += random.random(energies.shape, dtype=np.float32)
    images = torch.from_numpy(np.stack(list(outputs.energies.values()), 1))[..., None]
    outputs.logits = images.sum((1, 3)).numpy()
    words = torch.tensor(next(iter(outputs.codewords.values())))
    found = EarlyExit(Scripted(outputs.blocks, words), rule)(images)
    simulated = Traces(outputs).leave(rule)
    assert torch.equal(found.classes, simulated.classes) and torch.equal(found.places, simulated.places)
    assert len(found.places.unique()) > 1 or rule == Agreement(1)


def test_rules_of_the_tests_part_the_images(network):
    model, images = network
    places = [EarlyExit(model, rule)(images).places.unique().tolist() for rule in RULES]
    assert places[0] == [0] and places[5] == [len(model.coded_blocks)] and places[6] == [0]
    assert max(map(len, places)) == len(model.coded_blocks) + 1 and len(places[7]) == 2


def test_threshold_that_none_reaches_is_the_whole_network(network):
    model, images = network
    with torch.no_grad():
        assert torch.equal(EarlyExit(model, Margin(1.))(images).classes, model(images).argmax(1))


def test_finished_samples_leave_the_batch(network):
    model, images = network
    rule = Margin(0.03)
    places = EarlyExit(model, rule)(images).places
    sizes = {}
    hooks = [block.register_forward_pre_hook(lambda block, args: sizes.update({block.block_name: len(args[0])}))
             for _, block in model.named_blocks()]
    hooks.append(model.fc.register_forward_pre_hook(lambda fc, args: sizes.update(fc=len(args[0]))))
    try:
        EarlyExit(model, rule)(images)
        expected = {block: int((places >= place).sum()) for place, block in enumerate([*model.coded_blocks, 'fc'])}
        assert sizes == expected | {'layer1.0': 40} and 0 < expected['fc'] < expected[model.coded_blocks[1]] < 40
        sizes.clear()
        EarlyExit(model, Margin(0.))(images)
        assert list(sizes) == ['layer1.0', 'layer2.0']
    finally:
        for hook in hooks:
            hook.remove()


def test_margin_by_hand():
    words = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])
    energies = torch.tensor(
        [[2., 2., 0, 0], [4., 0, 0, 0], [1., 1., 1., 1.], [0, 0, 0, 0], [0, 1., 2., 1.], [6., 6., 0, 0]])
    classes, margins = decode_with_margin(energies, words)
    assert margins.tolist() == pytest.approx([0.5, 1, 0, 0, 0, 0.5])
    assert Margin(0.5).leaves(margins, None).tolist() == [True, True, False, False, False, True]
    assert torch.equal(classes, early_decode(energies, words))


def test_agreement_counts_the_decoders_that_name_the_networks_class():
    decoded = {'a': np.array([1, 2, 3]), 'b': np.array([1, 0, 3]), 'c': np.array([0, 0, 3])}
    assert agreement(decoded, np.array([1, 2, 0])).tolist() == [2, 1, 0]


def test_runs_start_again_where_the_class_changes():
    stored, _ = drawn_outputs(samples=200, taus=6 * [0.])
    traces = Traces(stored)
    assert traces.runs.max() == 6
    named = np.stack([classes for classes in stored.decoded().values()], 1)
    for row in range(len(named)):
        run = 0
        for place in range(named.shape[1]):
            run = run + 1 if place and named[row, place] == named[row, place - 1] else 1
            assert traces.runs[row, place] == run


def test_macs_are_those_of_the_layers(network):
    # by hand for 16 x 16 pixels: convolutions by shape, energies as in energy.py, decoders K x N each
    model, _ = network
    macs = exit_macs(model, (3, 16, 16))
    shapes = {}
    hooks = [module.register_forward_hook(
                 lambda module, args, out, name=name: shapes.update({name: (module, out.shape)}))
             for name, module in model.named_modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))]
    with torch.no_grad():
        model(torch.zeros(1, 3, 16, 16))
    for hook in hooks:
        hook.remove()
    layers = {name: module.weight.numel() * (shape[2:].numel() if len(shape) == 4 else 1)
              for name, (module, shape) in shapes.items()}
    extra = {}
    for name, block in model.named_blocks():
        if name in model.coded_blocks:
            width, channels = block.conv3.in_channels // 10, block.conv3.out_channels
            pixels = shapes[f'{name}.conv3'][1][2:].numel()
            extra[name] = 10 * width ** 2 * (channels + pixels)
    decoders = 10 * 10 * len(model.coded_blocks)
    assert macs[-1] == sum(layers.values()) + sum(extra.values())
    assert macs[-2] == macs[-1] + decoders
    first = [value for name, value in layers.items() if name.split('.')[0] in ('conv1', 'layer1', 'layer2')]
    assert macs[0] == sum(first) + extra['layer2.0'] + 100
    assert (np.diff(macs[:-1]) > 0).all()


def test_what_is_run_is_what_is_predicted(network, stored):
    model, images = network
    targets = torch.from_numpy(stored.predictions)
    runs = run_exits(model, images, targets, [Margin(0.05), Agreement(2)], batch_sizes=(1, 16), repeats=2, timed=4)
    macs = exit_macs(model, (3, 16, 16))
    assert [(run.batch_size, str(run.rule or 'whole')) for run in runs] == [
        (size, name) for size in (1, 16) for name in ('whole', 'margin 0.05', 'agreement 2')]
    assert runs[0].accuracy == 100 and runs[0].mean_macs == macs[-1]
    for run in runs:
        assert len(run.seconds) == 2 and min(run.seconds) > 0 and run.timed == 4
        assert run.milliseconds[1] <= run.milliseconds[0] <= run.milliseconds[2]
        if run.rule:
            simulated = Traces(stored).leave(run.rule)
            assert run.accuracy == pytest.approx(100 * (simulated.classes == targets).double().mean().item())
            assert run.mean_macs == pytest.approx(macs[simulated.places].mean())


def test_spread_images_are_even_and_leave_out_fillers():
    numbers = torch.arange(12.)[:, None, None, None].expand(12, 1, 1, 1)
    batches = [(numbers[:5], torch.tensor([0, 1, 2, 3, 4])), (numbers[5:10], torch.tensor([5, 6, 7, 8, -1]))]
    images, targets = spread_images(batches, 9, 3)
    assert targets.tolist() == [0, 4, 8] and images.flatten().tolist() == [0, 4, 8]
    assert spread_images(batches, 9, 100)[1].tolist() == list(range(9))
    with pytest.raises(ValueError, match='no samples'):
        spread_images([], 0, 3)


@pytest.mark.parametrize('make', [lambda: Margin(-0.1), lambda: Margin(1.1), lambda: Margin(float('nan')),
                                  lambda: Agreement(0), lambda: Agreement(1.5)])
def test_nonsense_thresholds_are_refused(make):
    with pytest.raises(ValueError, match='expected'):
        make()


def test_networks_that_cannot_leave_early_are_refused(network, stored):
    model, images = network
    with pytest.raises(ValueError, match='no coded blocks'):
        EarlyExit(timm.create_model('resnext11_10x11d', num_classes=10), Margin(0.1))
    for make in (lambda rule: EarlyExit(model, rule), Traces(stored).leave):
        with pytest.raises(ValueError, match=f'there are {len(model.coded_blocks)}'):
            make(Agreement(len(model.coded_blocks) + 1))
    with pytest.raises(ValueError, match='training mode'):
        EarlyExit(random_network().train(), Margin(0.1))(images)
    with pytest.raises(ValueError, match='positive'):
        run_exits(model, images, torch.zeros(40), [], repeats=0)
    with pytest.raises(ValueError, match='not on meta'):
        run_exits(model, images.to('meta'), torch.zeros(40), [])
    with pytest.raises(ValueError, match='no samples'):
        run_exits(model, images[:0], torch.zeros(0), [])
