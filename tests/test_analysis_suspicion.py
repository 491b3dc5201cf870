"""Scores of suspicion: the code distance is the nearest of all, and what is strange scores higher in each."""
import itertools

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

import timm_coded
from timm_coded.analysis.detection.suspicion import SCORES, dispute, suspicion
from timm_coded.analysis.outputs import Outputs

WORDS = {
    'layer2.0': timm_coded.coding_scheme(10, 10, 5).codewords,
    'layer3.0': timm_coded.coding_scheme(10, 10, 3).codewords,
}


def outputs_of(logits, energies, targets=None):
    targets = np.full(len(logits), -1) if targets is None else targets
    return Outputs(np.asarray(logits, np.float32), energies, targets, WORDS, fingerprint='x')


@pytest.fixture
def random():
    generator = np.random.default_rng(0)
    energies = {block: generator.random((50, 10), dtype=np.float32) for block in WORDS}
    energies = {block: 10 * values / values.sum(1, keepdims=True) for block, values in energies.items()}
    return outputs_of(generator.standard_normal((50, 10)), energies)


def test_code_distance_is_that_of_the_nearest_of_all_codewords(random):
    scores, by_block = suspicion(random)
    for block, num_active in (('layer2.0', 5), ('layer3.0', 3)):
        scaled = num_active / 10 * random.energies[block].astype(np.float64)
        every = np.linalg.norm(scaled[:, None] - WORDS[block][None], axis=2)
        np.testing.assert_allclose(by_block[block], every.min(1), rtol=1e-5)
    np.testing.assert_allclose(scores['code distance'], (by_block['layer2.0'] + by_block['layer3.0']) / 2, rtol=1e-6)


def test_energies_that_are_a_codeword_have_no_distance():
    energies = {'layer2.0': 2 * WORDS['layer2.0'][[3, 7]].astype(np.float32),
                'layer3.0': WORDS['layer3.0'][[3, 1]].astype(np.float32) * np.float32(10 / 3)}
    scores, by_block = suspicion(outputs_of(np.eye(10)[[3, 7]], energies))
    assert np.abs(list(by_block.values())).max() < 1e-6
    assert scores['path distance'][0] < 1e-6 and scores['disagreement'].tolist() == [0, .5]
    between = np.linalg.norm(1. * WORDS['layer3.0'][1] - WORDS['layer3.0'][7])
    assert scores['path distance'][1] == pytest.approx(between / 2), 'mean over two blocks'


def test_disagreement_and_dispute_count_decoders_and_their_pairs(random):
    scores, _ = suspicion(random)
    decoded = np.stack(list(random.decoded().values()), 1)
    assert scores['disagreement'].tolist() == [
        np.mean([one != prediction for one in row]) for row, prediction in zip(decoded, random.predictions)]
    named = np.random.default_rng(1).integers(0, 3, (40, 5))
    expected = [np.mean([one != other for one, other in itertools.combinations(row, 2)]) for row in named]
    np.testing.assert_allclose(dispute(named), expected)
    assert dispute(named[:, :1]).tolist() == [0] * 40


def test_path_distance_is_the_code_distance_where_the_decoders_agree_and_more_elsewhere(random):
    scores, _ = suspicion(random)
    assert (scores['path distance'] >= scores['code distance'] - 1e-6).all()
    agree = scores['disagreement'] == 0
    np.testing.assert_allclose(scores['path distance'][agree], scores['code distance'][agree], rtol=1e-6)
    assert (scores['path distance'][~agree] > scores['code distance'][~agree]).all()


def test_baselines_are_those_of_scipy(random):
    scores, _ = suspicion(random)
    assert list(scores) == list(SCORES)
    doubt = 1 - softmax(random.logits.astype(np.float64), 1).max(1)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores['max-softmax'])), doubt, rtol=1e-9)
    np.testing.assert_allclose(scores['energy score'], -logsumexp(random.logits.astype(np.float64), axis=1), rtol=1e-9)


def test_sure_samples_are_not_tied_by_rounding(random):
    random.logits[:] = 0
    random.logits[:, 4] = np.linspace(100, 200, 50)
    assert (np.diff(suspicion(random)[0]['max-softmax']) < 0).all()


def test_every_score_is_higher_for_what_is_strange():
    known = {block: words[[2]].astype(np.float32) * np.float32(10 / words[0].sum()) for block, words in WORDS.items()}
    strange = {'layer2.0': np.ones((1, 10), np.float32), 'layer3.0': 10 * np.eye(10, dtype=np.float32)[:1]}
    strange['layer2.0'][0, WORDS['layer2.0'][6] == 1] += .1  # named 6, which layer3.0 does not
    low, high = suspicion(outputs_of(9 * np.eye(10)[[2]], known))[0], suspicion(outputs_of(np.eye(10)[[1]], strange))[0]
    for name in SCORES:
        assert high[name][0] > low[name][0], name
