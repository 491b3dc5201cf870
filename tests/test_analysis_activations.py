"""|t_n| is counted as if every t_n were in memory, for the samples whose class the subNN works for and the others."""
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from random_network import batches_of, random_network

from timm_coded.analysis.activations.histograms import BINS, SubnnHistograms
from timm_coded.analysis.activations.magnitudes import activations, choose_blocks, count_outputs


@pytest.fixture(scope='module', autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope='module')
def model():
    return random_network().double()


@pytest.fixture(scope='module')
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 3, 8, 8, generator=generator, dtype=torch.float64), torch.tensor([3, 1, 4, 1, 5, 9, 2])


def materialised_outputs(model, name, images):
    """All t_n / sqrt(E_avg) of a block, [B, N, C, H, W], from Eq. (2) and (3)."""
    x = model.forward_stem(images)
    for block_name, block in model.named_blocks():
        if block_name == name:
            break
        x = block(x)
    z = torch.relu(block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))))))
    subnns, channels = block.num_subnns, block.conv3.out_channels
    weight = block.conv3.weight.view(channels, subnns, -1).transpose(0, 1).reshape(subnns * channels, -1, 1, 1)
    t = F.conv2d(z, weight, groups=subnns).unflatten(1, (subnns, channels))
    return t / t.pow(2).mean((2, 3, 4)).mean(1).sqrt().view(-1, 1, 1, 1, 1)


@pytest.mark.parametrize('block', ['layer2.0', 'layer3.0'])
@pytest.mark.parametrize('size', [3, 7])
def test_counts_are_those_of_the_materialised_outputs(model, data, block, size):
    images, targets = data
    batches = [(image.double(), target) for image, target in batches_of(images, targets, size)]
    found, samples = count_outputs(model, batches, [block])
    histograms = found[block]
    t = materialised_outputs(model, block, images).abs()
    works = model.codewords(block)[targets].bool()
    assert samples == 7
    assert histograms.range >= t.max() > histograms.range / 2, 'the smallest power of 2'
    for subnn in range(10):
        for status in (0, 1):
            values = t[works[:, subnn] == bool(status), subnn].flatten()
            assert histograms.counts[status, subnn].sum() == len(values)  # pixels x channels x samples
            expected, _ = np.histogram(values, BINS, (0, histograms.range))
            assert np.array_equal(histograms.counts[status, subnn], expected)
            if len(values):
                assert histograms.mean()[status, subnn] == pytest.approx(values.mean().item(), rel=1e-9)
                quantile = histograms.quantile(.99)[status, subnn]
                assert abs(quantile - np.quantile(values, .99)) <= histograms.range / BINS + 1e-3
    filled = (histograms.counts.sum(2) > 0).sum()
    assert histograms.density().nansum() * histograms.range / BINS == pytest.approx(filled)


def test_mean_squares_are_the_energies(model, data):
    images, targets = data
    found, _ = count_outputs(model, [(images, targets)], model.coded_blocks)
    _, energies = model.forward_energies(images)
    for block, energy in zip(model.coded_blocks, energies):
        works = model.codewords(block)[targets].double()
        expected = (energy * works).sum(0) / works.sum(0)
        assert torch.allclose(found[block].mean_square()[1], expected, equal_nan=True)


def test_range_grows_with_the_values_and_keeps_the_counts():
    generator = torch.Generator().manual_seed(0)
    values = [scale * torch.randn(4, 5, 6, generator=generator) for scale in (1e-3, 1, 50, 2)]
    active = torch.tensor([0, 1, 1, 0])
    in_turn, at_once = SubnnHistograms(2), SubnnHistograms(2)
    for part in values:
        in_turn.add(1, part, active)
    at_once.add(1, torch.cat(values), active.repeat(4))
    assert in_turn.range == at_once.range and torch.equal(in_turn.counts, at_once.counts)
    assert in_turn.counts[:, 0].sum() == 0 and in_turn.counts[:, 1].sum() == 480
    assert in_turn.mean()[:, 0].isnan().all() and in_turn.quantile(.5)[:, 0].isnan().all()


def test_values_on_edges_count_above_and_zero_in_the_first_bin():
    found = SubnnHistograms(1)
    found.add(0, torch.tensor([[0., -0., 1 / BINS, -.5, .999999, -1.]]), torch.tensor([1]))
    assert found.range == 1
    counts = {index: count for index, count in enumerate(found.counts[1, 0].tolist()) if count}
    assert counts == {0: 2, 1: 1, BINS // 2: 1, BINS - 1: 2}
    silent = SubnnHistograms(1)
    silent.add(0, torch.zeros(3, 4), torch.tensor([0, 1, 1]))
    assert silent.counts[:, 0, 0].tolist() == [4, 8]


def test_median_is_the_upper_edge_of_its_bin():
    found = SubnnHistograms(1)
    found.add(0, torch.arange(BINS).view(1, -1) / BINS + .5 / BINS, torch.tensor([0]))
    assert found.quantile(.5)[0, 0] == .5 and found.quantile(1.)[0, 0] == 1


def test_findings_have_every_subnn_and_the_first_five_in_the_figure(model, data, tmp_path):
    images, targets = data
    findings = activations(model, [(images, targets)], ['layer3.0'])
    summary, histogram = findings.tables
    assert [row['subNN'] for row in summary.rows] == list(range(10)) and len(histogram.rows) == 10 * BINS
    assert sum(row['active'] + row['inactive'] for row in histogram.rows) == 7 * 10 * 1024 * 2 * 2
    figure, = (picture.figure for picture in findings.pictures)
    assert [axes.get_title() for axes in figure.axes] == [f'subNN {n}' for n in range(5)]
    assert all(axes.get_yscale() == 'log' and axes.get_xlabel() for axes in figure.axes)
    findings.write(tmp_path)
    works = model.codewords('layer3.0')[targets].sum(0)
    assert [row['mean, active'] is None for row in summary.rows] == (works == 0).tolist()
    assert not model.layer3[0].conv3._forward_pre_hooks


def test_default_block_is_the_papers_or_the_last():
    assert choose_blocks(timm.create_model('coded_resnext29_10x11d'), []) == ['layer3.1']
    assert choose_blocks(timm.create_model('coded_resnext11_10x11d'), []) == ['layer3.0']


def test_wrong_input_is_refused(model, data):
    images, targets = data
    with pytest.raises(ValueError, match="'layer1.0' is not a coded block; the coded blocks are layer2.0, layer3.0"):
        activations(model, [], ['layer1.0'])
    with pytest.raises(ValueError, match='no coded blocks'):
        activations(timm.create_model('resnext11_10x11d'), [])
    for batches in ([], [(images, torch.full((7,), -1))]):
        with pytest.raises(ValueError, match='no samples'):
            activations(model, batches)
    with pytest.raises(ValueError, match='target 10, the model has 10 classes'):
        activations(model, [(images, targets + 1)])
    with pytest.raises(ValueError, match='not finite'):
        activations(model, [(images * torch.nan, targets)])
