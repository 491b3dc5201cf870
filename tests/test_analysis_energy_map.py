"""Mean energies by class are those of the class's samples, and the codewords where coding is perfect."""
import numpy as np
import pytest

import timm_coded
from timm_coded.analysis.activations.energy_map import class_means, energy_map
from timm_coded.analysis.outputs import Outputs

WORDS = {'layer3.0': timm_coded.coding_scheme(10, 10, 3).codewords}


def outputs_of(energies, targets):
    logits = np.zeros((len(targets), 10), np.float32)
    return Outputs(logits, {'layer3.0': energies.astype(np.float32)}, np.asarray(targets), WORDS, list('abcdefghij'))


def test_means_are_over_the_samples_of_the_class():
    generator = np.random.default_rng(0)
    energies, targets = generator.random((60, 10)), generator.integers(0, 9, 60)
    means = class_means(outputs_of(energies, targets), 'layer3.0')
    for index in range(9):
        np.testing.assert_allclose(means[index], .3 * energies[targets == index].mean(0), rtol=1e-6)
    assert np.isnan(means[9]).all()
    findings = energy_map(outputs_of(energies, targets))
    rows = findings.tables[1].rows
    assert [row['class'] for row in rows] == list('abcdefghij')
    assert rows[4]['subNN 7'] == pytest.approx(means[4, 7], abs=1e-4) and rows[9]['subNN 0'] is None
    active, known = WORDS['layer3.0'].astype(bool), np.arange(10)[:, None] < 9
    summary, = findings.tables[0].rows
    assert summary['active: lowest'] == pytest.approx(means[active & known].min())
    assert summary['inactive: highest'] == pytest.approx(means[~active & known].max())
    assert summary['inactive: mean'] == pytest.approx(means[~active & known].mean())


def test_perfect_coding_gives_the_scheme(tmp_path):
    targets = np.arange(20) % 10
    findings = energy_map(outputs_of(WORDS['layer3.0'][targets] * 10 / 3, targets))
    summary, = findings.tables[0].rows
    assert [round(value, 6) for value in summary.values() if value != 'layer3.0'] == [1, 1, 0, 0]
    energies, scheme, bar = findings.pictures[0].figure.axes
    np.testing.assert_allclose(energies.images[0].get_array(), WORDS['layer3.0'], atol=1e-6)
    assert np.array_equal(scheme.images[0].get_array(), WORDS['layer3.0'])
    assert energies.get_ylabel() == 'class' and scheme.get_xlabel() == 'subNN' and bar.get_ylabel() == 'r E'
    assert len(findings.write(tmp_path)) == 4


def test_samples_of_foreign_classes_are_refused():
    with pytest.raises(ValueError, match='does not know'):
        energy_map(outputs_of(np.ones((2, 10)), [-1, -1]))
