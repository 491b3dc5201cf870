"""Detection: metrics against hand-computed ones, and what is told from what."""
import json

import numpy as np
import pytest

import timm_coded
from timm_coded.analysis.detection.detect import detect, metrics
from timm_coded.analysis.detection.suspicion import SCORES
from timm_coded.analysis.outputs import Outputs

WORDS = {'layer3.0': timm_coded.coding_scheme(10, 10, 3).codewords}


def samples(targets, predictions, noise, fingerprint='x', **about):
    """Outputs whose energies are the predictions' codewords, with noise."""
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    generator = np.random.default_rng(len(targets))
    energies = WORDS['layer3.0'][predictions] + noise * generator.random((len(targets), 10))
    energies = (10 * energies / energies.sum(1, keepdims=True)).astype(np.float32)
    logits = 5 * np.eye(10, dtype=np.float32)[predictions] + .1 * generator.standard_normal((len(targets), 10))
    return Outputs(logits.astype(np.float32), {'layer3.0': energies}, targets, WORDS, [], fingerprint, about)


def rows_of(findings, table='detect'):
    rows = next(found for found in findings.tables if found.name == table).rows
    return {tuple(value for value in row.values() if isinstance(value, str))[:2]: row for row in rows}


def test_metrics_are_those_computed_by_hand():
    row, = metrics({'score': np.array([0., 1, 2, 3])}, {'score': np.array([2.5, 4])})
    assert row['AUROC'] == pytest.approx(100 * 7 / 8)  # 7 of 8 pairs are in order
    assert row['AUPR'] == pytest.approx(100 * (1 + 2 / 3) / 2)  # precision where each of the two is found
    assert row['FPR95'] == pytest.approx(50)  # to accept 95 % of "in" is to accept 3, and so 2.5
    assert (row['n in'], row['n out']) == (4, 2)


def test_threshold_accepts_95_percent_and_no_more():
    low = {'score': np.arange(20.)}  # 19 of them: up to 18
    assert metrics(low, {'score': np.array([18.5, 17.5, 30, 40])})[0]['FPR95'] == pytest.approx(25)
    assert metrics(low, {'score': np.array([18., 18.5])})[0]['FPR95'] == pytest.approx(50)


def test_no_threshold_is_left_out():
    same = {'score': np.arange(20.)}  # ROC is a line: scikit-learn would by default keep nothing but its ends
    assert metrics(same, same)[0]['FPR95'] == pytest.approx(95)


def test_metrics_of_nothing_are_empty():
    row, = metrics({'score': np.arange(3.)}, {'score': np.array([])})
    assert row == {'score': 'score', 'AUROC': None, 'AUPR': None, 'FPR95': None, 'n in': 3, 'n out': 0}


def test_foreign_wrong_and_attacked_samples_are_told_from_the_own():
    targets = np.arange(40) % 10
    predictions = targets.copy()
    predictions[:4] += 1
    own = samples(targets, predictions, .1, images='digits validation')
    foreign = samples(np.full(30, -1), np.arange(30) % 10, 20)
    moved = predictions.copy()
    moved[10:16] = (moved[10:16] + 1) % 10
    attacked = samples(targets, moved, .1, attack='FGSM')
    findings = detect(own, {'letters': foreign, 'fgsm': attacked})
    rows = rows_of(findings)
    cases = ['wrong predictions', 'letters', 'fgsm', 'fgsm, changed']
    assert list(rows) == [(case, score) for case in cases for score in SCORES]
    sizes = {case: (rows[case, 'code distance']['n in'], rows[case, 'code distance']['n out']) for case in cases}
    assert sizes == {'wrong predictions': (36, 4), 'letters': (40, 30), 'fgsm': (40, 40), 'fgsm, changed': (40, 6)}
    assert rows['letters', 'code distance']['AUROC'] == 100 and rows['letters', 'code distance']['FPR95'] == 0
    blocks = rows_of(findings, 'detect-blocks')
    assert blocks['letters', 'layer3.0']['AUROC'] == 100
    about = {row['samples']: row for row in rows_of(findings, 'detect-samples').values()}
    assert about['in']['accuracy'] == 90 and about['letters']['accuracy'] is None
    assert about['fgsm']['accuracy'] == 75 and about['fgsm']['predictions changed'] == 15
    assert about['fgsm']['attack'] == 'FGSM' and about['in']['images'] == 'digits validation'
    assert any('do not know the detector' in note for note in findings.notes)
    assert len(findings.pictures[0].figure.axes) == 4


def test_what_there_is_none_of_is_an_empty_cell_in_the_files(tmp_path):
    targets = np.arange(20) % 10
    own = samples(targets, targets, .1)
    findings = detect(own, {'pgd': samples(targets, targets, .2, attack='PGD')})
    findings.write(tmp_path)
    rows = json.loads((tmp_path / 'detect.json').read_text())['tables']['detect']['rows']
    empty = {row['against'] for row in rows if row['AUROC'] is None}
    assert empty == {'wrong predictions', 'pgd, changed'}
    assert len(findings.pictures[0].figure.axes) == 1


def test_what_cannot_be_compared_is_refused():
    targets = np.arange(20) % 10
    own = samples(targets, np.where(targets < 5, 0, targets), .1)
    with pytest.raises(ValueError, match='other has outputs of another model'):
        detect(own, {'other': samples(targets, targets, .1, 'y')})
    with pytest.raises(ValueError, match='does not know'):
        detect(samples(np.full(20, -1), targets, .1), {'own': own})
    with pytest.raises(ValueError, match='all predictions are right'):
        detect(samples(targets, targets, .1), {})
    with pytest.raises(ValueError, match='all predictions are wrong'):
        detect(samples(targets, (targets + 1) % 10, .1), {})
    assert len(detect(own, {}).tables[0].rows) == len(SCORES)
