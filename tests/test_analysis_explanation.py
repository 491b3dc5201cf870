"""An explanation tells what the model and its codewords say, and shows it."""
import copy

import numpy as np
import pytest
import timm
import torch
from random_network import random_network

from timm_coded.analysis.calibration.calibrator import Calibrator
from timm_coded.analysis.explanation import explain
from timm_coded.analysis.outputs import fingerprint
from timm_coded.models import early_decode

NAMES = [f'class {letter}' for letter in 'abcdefghij']
PIXELS = np.zeros((8, 8, 3))


@pytest.fixture(scope='module', autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope='module')
def case():
    model = random_network(seed=3)
    return model, torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_runner_up_of_a_very_sure_model_is_the_second_highest_logit(case):
    model, image = copy.deepcopy(case[0]), case[1]
    model.fc.weight.data.zero_()
    model.fc.bias.data = torch.tensor([0., 0., 0., 0., 0., 0., 500., 10., 90., 0.])  # whose other probabilities are 0
    classes = explain(model, image, PIXELS, 'sure', NAMES).tables[0].rows
    assert [row['class'] for row in classes[:3]] == [6, 8, 7]


def test_tables_are_what_the_model_puts_out(case):
    model, image = case
    findings = explain(model, image, PIXELS, 'three', NAMES)
    logits, energies = model.forward_energies(image)
    classes, decoders, subnns = (table.rows for table in findings.tables)
    order = logits[0].argsort(descending=True).tolist()
    assert [row['class'] for row in classes] == order[:5] and classes[1]['name'] == NAMES[order[1]]
    expected = 100 * logits.softmax(1)[0, order[:5]]
    np.testing.assert_allclose([row['probability'] for row in classes], expected, rtol=1e-5)
    assert [row['block'] for row in decoders] == model.coded_blocks == ['layer2.0', 'layer3.0']
    agreeing = 0
    for row, energy, ratio in zip(decoders, energies, (.5, .3)):
        words = model.codewords(row['block'])
        own, other = words[order[0]].numpy(), words[order[1]].numpy()
        scaled = ratio * energy[0].numpy()
        assert row['class'] == early_decode(energy, words).item() and row['name'] == NAMES[row['class']]
        agreeing += row['class'] == order[0]
        assert row['distance, prediction'] == pytest.approx(np.sqrt(((scaled - own) ** 2).sum()), rel=1e-5)
        assert row['distance, runner-up'] == pytest.approx(np.sqrt(((scaled - other) ** 2).sum()), rel=1e-5)
        alone = [n for n in range(10) if own[n] and not other[n]], [n for n in range(10) if other[n] and not own[n]]
        assert row['r E, only prediction'] == pytest.approx(np.mean(scaled[alone[0]]), rel=1e-5)
        assert row['r E, only runner-up'] == pytest.approx(np.mean(scaled[alone[1]]), rel=1e-5)
        listed = [found for found in subnns if found['block'] == row['block']]
        np.testing.assert_allclose([found['r E'] for found in listed], scaled, rtol=1e-5)
        assert [found['prediction'] for found in listed] == own.tolist()
        assert [found['runner-up'] for found in listed] == other.tolist()
        assert [found['subNN'] for found in listed if found['tells apart']] == sorted(alone[0] + alone[1])
    assert findings.title.startswith(f'Image three: {NAMES[order[0]]}, ')
    assert f'{agreeing} of 2 early decoders; runner-up {NAMES[order[1]]}' in findings.title


def test_picture_has_the_image_and_coloured_bars(case):
    model, image = case
    findings = explain(model, image, PIXELS, 'x')
    picture, *panels = findings.pictures[0].figure.axes
    subnns = findings.tables[2].rows
    assert picture.images and [panel.get_title() for panel in panels] == model.coded_blocks
    for panel in panels:
        rows = [row for row in subnns if row['block'] == panel.get_title()]
        np.testing.assert_allclose([bar.get_height() for bar in panel.patches], [row['r E'] for row in rows])
        blue = [bar.get_facecolor()[2] > bar.get_facecolor()[0] for bar in panel.patches]
        assert blue == [bool(row['prediction']) for row in rows]
        hatched = [bool(bar.get_hatch()) for bar in panel.patches]
        assert hatched == [row['runner-up'] > row['prediction'] for row in rows]


def test_probabilities_may_be_calibrated(case):
    model, image = case

    calibrator = Calibrator(2., dict.fromkeys(model.coded_blocks, 0.), fingerprint(model), 10, 100)
    rows = explain(model, image, PIXELS, 'x', calibrator=calibrator).tables[0].rows
    expected = 100 * (model(image) / 2).softmax(1)[0]
    expected = [expected[row['class']].item() for row in rows]
    assert [row['calibrated'] for row in rows] == pytest.approx(expected, rel=1e-5)
    assert 'calibrated' not in explain(model, image, PIXELS, 'x').tables[0].rows[0]


def test_wrong_input_is_refused(case):
    _, image = case
    with pytest.raises(ValueError, match='no coded blocks'):
        explain(timm.create_model('resnext11_10x11d'), image, PIXELS, 'x')
    with pytest.raises(ValueError, match='9 names of classes for a model of 10'):
        explain(random_network(), image, PIXELS, 'x', NAMES[1:])
    with pytest.raises(ValueError, match='another model'):
        explain(random_network(), image, PIXELS, 'x', calibrator=Calibrator(2., {}, 'other', 10, 100))
