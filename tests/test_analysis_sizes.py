"""Sizes of extracted networks are those of Table 1's formulas; counted in the paper's way, those of its Section 4.3."""
import math

import pytest
import timm
from cutting import random_model

from timm_coded import extract_classes, pack_grouped_convs
from timm_coded.analysis.extraction.sizes import size_table

pytestmark = pytest.mark.usefixtures('one_thread')

# Table 1: stem width and kernel, stages of (C_out, d, N_act, blocks), N, classes; then the paper's percentages of 4.3
CIFAR10 = 'coded_resnext29_10x11d', 64, 3, [(256, 11, 10, 3), (512, 22, 5, 3), (1024, 44, 3, 3)], 10, 10, 38
CIFAR100 = 'coded_resnext29_20x6d', 64, 3, [(256, 6, 20, 3), (512, 12, 8, 3), (1024, 24, 4, 3)], 20, 100, 27
IMAGENET = ('coded_resnext50_32x4d', 64, 7, [(256, 4, 32, 3), (512, 8, 32, 4), (1024, 16, 16, 6), (2048, 32, 8, 3)], 32,
            1000, 35)


def table_1_parameters(stem, kernel, stages, num_subnns, classes, active=False, shortcuts=False):
    """Parameters by the formulas; `active` counts only N_act subNNs, `shortcuts` scales the projections too."""
    total, inputs = 3 * stem * kernel ** 2 + 2 * stem, stem
    for outputs, d, num_active, blocks in stages:
        left = num_active if active else num_subnns
        for block in range(blocks):
            total += left * (inputs * d + 2 * d + 9 * d * d + 2 * d + d * outputs) + 2 * outputs
            if block == 0:
                total += inputs * outputs * (left / num_subnns if shortcuts else 1) + 2 * outputs
            inputs = outputs
    return total + (inputs + 1) * (1 if active else classes)


@pytest.mark.parametrize('name, stem, kernel, stages, num_subnns, classes, paper', [CIFAR10, CIFAR100, IMAGENET],
                         ids=['CIFAR-10', 'CIFAR-100', 'ImageNet'])
def test_parameters_are_those_of_table_1_and_the_papers_percentages(
        name, stem, kernel, stages, num_subnns, classes, paper):
    model = timm.create_model(name)
    honest, papers_way = size_table(model, extract_classes(model, [5]), 32).rows[:2]
    sizes = stem, kernel, stages, num_subnns, classes
    assert honest['full'] == papers_way['full'] == table_1_parameters(*sizes)
    assert honest['extracted'] == table_1_parameters(*sizes, active=True)
    assert papers_way['extracted'] == round(table_1_parameters(*sizes, active=True, shortcuts=True))
    assert math.ceil(papers_way['extracted / full [%]']) == paper
    assert round(honest['extracted / full [%]'], 1) == {38: 46.3, 27: 37.4, 35: 41.6}[paper]
    assert honest['counted'] == 'as cut' and 'estimated' in papers_way['counted']


def small_multiplications(left2, left3, logits, batch):
    """Of coded_resnext11_10x11d for one of `batch` images of 8 pixels squared, by hand; left: subNNs in stages 2, 3."""
    total = 64 * 27 * 64  # stem
    for inputs, outputs, d, left, before, after in (
            (64, 256, 11, 10, 64, 64), (256, 512, 22, left2, 64, 16), (512, 1024, 44, left3, 16, 4)):
        total += left * d * inputs * before + left * 9 * d * d * after + left * d * outputs * after
        total += inputs * outputs * after  # shortcut
        if d > 11:
            total += left * d * d * after  # Z_n Z_n^T
            total += left * d * d * outputs / batch  # W_n^T W_n, once a batch
    return total + 1024 * logits


def test_multiplications_are_those_of_the_layers_and_energies():
    model = random_model()
    network = extract_classes(model, [3])
    for packed in (False, True):
        rows = size_table(pack_grouped_convs(model) if packed else model, network, 8).rows[2:]
        for batch, (honest, papers_way) in zip((1, 64), (rows[:2], rows[2:])):
            assert honest['what'] == f'multiply-accumulates an image, batch {batch}'
            assert honest['full'] == papers_way['full'] == round(small_multiplications(10, 10, 10, batch))
            assert honest['extracted'] == round(small_multiplications(5, 3, 1, batch))
            assert honest['extracted'] - papers_way['extracted'] == 256 * 512 * 16 * .5 + round(512 * 1024 * 4 * .7)
    assert type(model.layer1[0].conv2).__name__ == 'PackedConv2d' and model.conv1.weight.device.type == 'cpu'


def test_network_of_all_classes_has_the_full_size_in_both_ways():
    model = random_model()
    rows = size_table(model, extract_classes(model, range(10)), 8).rows
    assert [row['extracted / full [%]'] for row in rows] == [100.] * 6
