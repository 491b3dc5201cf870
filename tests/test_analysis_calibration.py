import numpy as np
import pytest
import torch
from coded_outputs import drawn_outputs, random_network
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from timm_coded.analysis.calibration.calibrate import calibrate
from timm_coded.analysis.calibration.calibration_error import reliability
from timm_coded.analysis.calibration.calibrator import Calibrator, fit_calibrator, load_calibrator
from timm_coded.analysis.calibration.log_partition import interpolate, log_partition
from timm_coded.analysis.calibration.temperature import CalibrationSamples
from timm_coded.analysis.outputs import Outputs, collect_outputs, fingerprint

TAUS = np.array([-0.2, 0.1, -0.3])


@pytest.fixture(scope='module')
def drawn():
    outputs, agree = drawn_outputs()
    return outputs, agree, CalibrationSamples(outputs.logits, outputs.targets, agree)


def exact_nll(outputs, temperature, rows=slice(None)):
    scaled = outputs.logits.astype(np.float64) / np.broadcast_to(temperature, len(outputs.targets))[:, None]
    own = log_softmax(scaled, axis=1)[np.arange(len(outputs.targets)), outputs.targets]
    return -own[rows]


@pytest.mark.parametrize('temperature', [1 / 32, 0.3, 0.93, 1., 1.37, 7.7, 31.9])
def test_table_is_log_sum_exp_and_its_derivative(temperature):
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 300)) * np.geomspace(0.01, 20, 200)[:, None]
    z = logits - logits.max(1, keepdims=True)
    value, slope = interpolate(log_partition(logits), np.full(200, temperature))
    step = 1e-5
    around = [logsumexp(z / temperature * np.exp(shift), axis=1) for shift in (-step, 0, step)]
    assert np.allclose(value, around[1], atol=1e-6)
    assert np.allclose(slope, (around[2] - around[0]) / (2 * step), atol=3e-6)


def test_table_goes_on_smoothly_above_its_highest_temperature():
    z = np.random.default_rng(0).normal(size=(50, 20))
    z -= z.max(1, keepdims=True)
    for temperature in (32.001, 40., 1000.):
        value, slope = interpolate(log_partition(z), np.full(50, temperature))
        p = np.exp(log_softmax(z / temperature, axis=1))
        assert np.allclose(value, logsumexp(z / temperature, axis=1), atol=1e-5)
        assert np.allclose(slope, (p * z).sum(1) / temperature, atol=1e-4)


def test_extreme_logits_give_no_nan():
    logits = np.array([[3e38, -3e38, 0.], [1e-40, 0., 0.], [-1e30, -1e30, -1e30], [5., 4.9, -2e5]], dtype=np.float32)
    with np.errstate(over='raise', invalid='raise'):
        samples = CalibrationSamples(logits, np.array([0, 1, 2, 1]), np.ones((4, 1), dtype=bool))
        probability, nll = samples.tested(np.full(4, 2.), np.arange(4))
    assert np.allclose(probability, [1, 1 / 3, 1 / 3, 1 / (1 + np.exp(-0.05))])
    assert np.isfinite(nll).all()
    calibrator = Calibrator(0.5, {'layer2.0': 0.1}, '', 3, 4)
    probabilities = calibrator.probabilities(logits, {'layer2.0': np.zeros(4, dtype=int)})
    assert torch.isfinite(probabilities).all() and torch.allclose(probabilities.sum(1), torch.ones(4).double())


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match='not finite'):
        log_partition(np.array([[np.nan, 1.]]))
    with pytest.raises(ValueError, match='not finite'):
        Calibrator(1., {}, '', 2, 4).probabilities([[np.inf, 1.]], {})


def test_bins_are_closed_on_the_right():
    # by hand: 1/15 is in the first bin, what is just above in the second; 0.2 = 3/15 in the third, 1 in the last
    found = reliability(np.array([1 / 15, np.nextafter(1 / 15, 1), 0.2, np.nextafter(0.2, 1), 1.]), np.ones(5))
    assert found.samples.tolist() == [1, 1, 1, 1] + 10 * [0] + [1]
    edges = np.arange(1, 16) / 15
    assert reliability(edges, np.ones(15)).samples.tolist() == 15 * [1]


def test_ece_and_mce_by_hand():
    # bin (0.4, 0.5] of 10: confidences 0.45, 0.5, one of two right: gap 2.5; bin (0.9, 1]: 0.92, 0.96, 1, two of
    # three right: gap 96 - 66.67 = 29.33; ECE = (2 * 2.5 + 3 * 29.333) / 5 = 18.6
    found = reliability(np.array([0.45, 0.5, 0.92, 0.96, 1.]), np.array([1, 0, 1, 1, 0]), bins=10)
    assert found.ece() == pytest.approx(18.6) and found.mce() == pytest.approx(29.3333333)
    assert (found + found).samples.sum() == 10 and (found + found).ece() == pytest.approx(18.6)


def test_fit_of_eq_10_is_the_minimum_on_a_grid(drawn):
    outputs, _, samples = drawn
    rows = np.arange(0, len(samples), 3)
    found = samples.fit(rows, augmented=False)
    grid = found.value * np.exp(np.linspace(-0.02, 0.02, 41))
    losses = [exact_nll(outputs, temperature, rows).mean() for temperature in grid]
    assert np.argmin(losses) == 20 and not found.at_bound and not len(found.taus)
    assert found.nll == pytest.approx(losses[20], abs=1e-9)
    log_t = [exact_nll(outputs, found.value * np.exp(shift), rows).mean() for shift in (-1e-4, 1e-4)]
    assert abs(log_t[1] - log_t[0]) / 2e-4 < 1e-6


def test_fit_of_eq_11_is_scipys_on_the_formula_itself(drawn):
    outputs, agree, samples = drawn
    rows = np.arange(1000)

    def formula(x):
        temperature = x[0] * (1 + agree @ x[1:])
        return exact_nll(outputs, np.maximum(temperature, 1e-3), rows).mean()

    found = samples.fit(rows, augmented=True)
    independent = minimize(formula, [1., 0, 0, 0], method='BFGS', options={'gtol': 1e-7})
    assert found.nll == pytest.approx(formula([found.value, *found.taus]), abs=1e-8)
    assert found.nll <= independent.fun + 1e-9
    assert np.allclose([found.value, *found.taus], independent.x, atol=2e-4)
    assert found.nll < samples.fit(rows, augmented=False).nll


def test_known_parameters_are_recovered():
    outputs, agree = drawn_outputs(samples=20_000, seed=1)
    found = CalibrationSamples(outputs.logits, outputs.targets, agree).fit(np.arange(20_000), augmented=True)
    assert found.value == pytest.approx(2., rel=0.03)
    assert np.allclose(found.taus, TAUS, atol=0.03)


def test_taus_of_zero_are_eq_10(drawn):
    outputs, _, _ = drawn
    logits = torch.from_numpy(outputs.logits[:50])
    plain = Calibrator(1.7, dict.fromkeys(outputs.blocks, 0.), '', 10, 4)
    assert torch.allclose(plain.probabilities(logits, outputs_of(outputs, 50)), (logits.double() / 1.7).softmax(1))


def outputs_of(outputs, count):
    return {block: classes[:count] for block, classes in outputs.decoded().items()}


def test_calibrator_is_eq_11_sample_by_sample(drawn):
    outputs, agree, _ = drawn
    calibrator = Calibrator(1.7, dict(zip(outputs.blocks, TAUS.tolist())), '', 10, 4)
    probabilities = calibrator.probabilities(outputs.logits[:50], outputs_of(outputs, 50)).numpy()
    for row in range(50):
        temperature = 1.7 * (1 + sum(tau for tau, agrees in zip(TAUS, agree[row]) if agrees))
        powers = np.exp(outputs.logits[row].astype(float) / temperature)
        assert np.allclose(probabilities[row], powers / powers.sum())


def test_temperatures_stay_positive_where_likelihood_has_no_maximum():
    # where the first decoder agrees all is right, so that T_aug of these would fall for ever
    random = np.random.default_rng(0)
    logits = random.normal(size=(400, 5)).astype(np.float32)
    agree = random.random((400, 2)) < 0.5
    targets = np.where(agree[:, 0], logits.argmax(1), random.integers(0, 5, 400))
    found = CalibrationSamples(logits, targets, agree).fit(np.arange(400), augmented=True)
    everything = np.array([[a, b] for a in (0., 1.) for b in (0., 1.)])
    assert found.at_bound and found.of(everything).min() >= 1 / 32 - 1e-9 and found.gradient < 1e-6


def test_highest_temperature_is_a_bound_too():
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(400, 5)).astype(np.float32), random.integers(0, 5, 400)
    targets[:200] = logits[:200].argmin(1)  # worse than chance: no temperature is high enough
    found = CalibrationSamples(logits, targets, np.zeros((400, 0), bool)).fit(np.arange(400), augmented=False)
    assert found.at_bound and found.value == pytest.approx(32.)


def test_fit_does_not_pass_as_converged_when_it_is_not(drawn, monkeypatch):
    def stopped(objective, start, **kwargs):
        return minimize(objective, start, **kwargs | {'options': {'maxiter': 1}})

    monkeypatch.setattr('scipy.optimize.minimize', stopped)
    with pytest.raises(ValueError, match='did not converge'):
        drawn[2].fit(np.arange(1000), augmented=True)


def test_study_has_table_6_and_prefers_what_the_samples_were_drawn_from(drawn):
    outputs, _, _ = drawn
    findings, calibrator = calibrate(outputs, splits=5)
    rows = {(row['split'], row['method'][:5]): row for row in findings.tables[0].rows}
    assert len(rows) == 6 and {split for split, _ in rows} == {'25/75', '50/50'}
    for split in ('25/75', '50/50'):
        uncalibrated, plain, augmented = (rows[split, method] for method in ('uncal', 'h_T, ', 'h_aug'))
        assert augmented['NLL'] < plain['NLL'] < uncalibrated['NLL']
        assert plain['ECE'] < uncalibrated['ECE'] and augmented['at bound'] == 0
    whole = exact_nll(outputs, 1.).mean()
    assert rows['50/50', 'uncal']['NLL'] == pytest.approx(whole, abs=0.03)
    bins = [row for row in findings.tables[1].rows if row['method'] == 'uncalibrated']
    assert len(bins) == 15 and sum(row['samples'] for row in bins) == 5 * 2000
    assert list(calibrator.taus) == outputs.blocks and calibrator.samples == 4000
    assert not any('no maximum' in note for note in findings.notes)


def test_splits_are_stratified_apart_and_seeded(drawn, monkeypatch):
    outputs, _, samples = drawn
    seen = []
    fit = CalibrationSamples.fit
    monkeypatch.setattr(CalibrationSamples, 'fit', lambda self, rows, augmented: (
        seen.append(rows) or fit(self, rows, augmented)))
    first = calibrate(outputs, splits=2, seed=3)[0].tables[0].rows
    counts = np.bincount(outputs.targets)
    for rows in seen[1:5]:
        assert np.abs(np.bincount(outputs.targets[rows]) - counts / 4).max() <= 1 and len(set(rows)) == 1000
    assert {len(rows) for rows in seen[5:]} == {2000}
    assert calibrate(outputs, splits=2, seed=3)[0].tables[0].rows == first


def small(logits, targets):
    words = np.eye(2, dtype=np.uint8)
    return Outputs(np.array(logits, dtype=np.float32), {'layer2.0': np.ones((len(targets), 2), np.float32)},
                   np.array(targets), {'layer2.0': words}, ['cat', 'dog'])


def test_samples_that_do_not_serve_are_told():
    with pytest.raises(ValueError, match='class dog has 3 samples'):
        calibrate(small([[1, 0]] * 7, [0] * 4 + [1] * 3))
    with pytest.raises(ValueError, match='all 8 predictions are right'):
        calibrate(small([[1, 0]] * 4 + [[0, 1]] * 4, [0] * 4 + [1] * 4))
    with pytest.raises(ValueError, match='does not know'):
        calibrate(small([[1, 0]] * 8, [-1] * 8))
    with pytest.raises(ValueError, match='splits is 1'):
        calibrate(small([[1, 0]] * 8, [0] * 4 + [1] * 4), splits=1)


def test_saved_calibrator_gives_the_probabilities_of_new_images(tmp_path, one_thread):
    model = random_network()
    images = torch.randn(24, 3, 16, 16)
    outputs = collect_outputs(model, [(images, torch.arange(24) % 10)])
    outputs.targets = np.where(np.arange(24) % 3, outputs.predictions, outputs.targets)
    agree = np.stack([classes == outputs.predictions for classes in outputs.decoded().values()], 1)
    calibrator, _ = fit_calibrator(outputs, CalibrationSamples(outputs.logits, outputs.targets, agree))
    calibrator.taus[outputs.blocks[0]] = 0.5
    calibrator.save(tmp_path / 'calibrator.json')
    loaded = load_calibrator(tmp_path / 'calibrator.json')
    assert loaded == calibrator
    found = loaded.predict(model, images)
    temperature = calibrator.temperature * (1 + agree @ np.array(list(calibrator.taus.values())))
    expected = (torch.from_numpy(outputs.logits).double() / torch.from_numpy(temperature)[:, None]).softmax(1)
    assert torch.allclose(found, expected, atol=1e-5) and loaded.fingerprint == fingerprint(model)
    with pytest.raises(ValueError, match='another model'):
        loaded.predict(random_network(seed=1), images)
    with pytest.raises(ValueError, match='training mode'):
        loaded.predict(model.train(), images)


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"version": 2}', '{"version": 1, "temperature": 1.0}', (
    '{"version": 1, "temperature": 1.0, "taus": {"layer2.0": -1.5}, "fingerprint": "", "num_classes": 2, '
    '"samples": 4}')])
def test_file_that_is_no_calibrator_is_told(tmp_path, content):
    (tmp_path / 'calibrator.json').write_text(content)
    with pytest.raises(ValueError, match='calibrator.json is no calibrator'):
        load_calibrator(tmp_path / 'calibrator.json')


def test_calibrator_needs_its_decoders_and_classes():
    calibrator = Calibrator(1., {'layer2.0': 0.1}, '', 3, 4)
    with pytest.raises(ValueError, match='layer2.0 are missing'):
        calibrator.probabilities(np.zeros((1, 3)), {'layer9.0': np.zeros(1)})
    with pytest.raises(ValueError, match=r'expected \[B, 3\]'):
        calibrator.probabilities(np.zeros((1, 4)), {'layer2.0': np.zeros(1)})
