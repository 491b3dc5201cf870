"""Findings about the classifiers are those counted by hand, and of a trained network those of scikit-learn."""
import json
import time

import numpy as np
import pytest
import torch
from random_network import batches_of, random_network
from sklearn.metrics import f1_score, precision_score, recall_score

from timm_coded.analysis.classifiers.binary import Counts, quality
from timm_coded.analysis.classifiers.class_scores import Scores
from timm_coded.analysis.classifiers.classify import classify, judge
from timm_coded.analysis.classifiers.tables import mean_row
from timm_coded.analysis.outputs import fingerprint
from timm_coded.train.trained import load_trained

pytestmark = pytest.mark.usefixtures('one_thread')


def by_kind(findings, method='extracted'):
    return {row['negatives']: row for row in findings.tables[0].rows if row['method'] == method}


def test_means_by_hand():
    """Two classes; 1 and 2 positives of 30 validation images. Thresholds are 2 and 5."""
    classes = np.array([0, 3])
    train = Scores(classes, np.array([0, 3, 5]), {'extracted': np.array([[3, 4], [1, 9], [1, 1]], np.float32)})
    train.by_method['extracted'][0, 1] = 1
    targets = np.array([0, 3, 3] + [7] * 27)
    scores = np.zeros((30, 2), np.float32)
    scores[0] = 2, 5  # right by the first classifier, just; wrong by the second, just
    scores[1] = 1, 8  # right by the second
    scores[2] = 4, 4  # wrong by the first, missed by the second
    scores[3] = 3, 0  # wrong by the first
    outside = np.zeros((5, 2), np.float32)
    outside[0] = 2, 6
    findings, thresholds = judge(
        train, Scores(classes, targets, {'extracted': scores}),
        Scores(classes, np.zeros(5, int), {'extracted': outside}), list('abcdefgh'), draws=4)
    assert thresholds == {0: 2., 3: 5.}
    rows = by_kind(findings)
    whole = rows['other classes, all']
    assert whole['precision'] == pytest.approx((100 / 3 + 50) / 2) and whole['recall'] == pytest.approx(75)
    assert whole['F1'] == pytest.approx((50 + 50) / 2) and whole['draws'] == 1 and whole['F1 std'] is None
    mean = (100 / 3 + 50) / 2
    assert whole['F1 of the means'] == pytest.approx(2 * mean * 75 / (mean + 75))
    assert (whole['classes'], whole['positives a class'], whole['negatives a class']) == (2, 1.5, 28.5)
    drawn = rows['other classes, 9 per positive']
    assert drawn['negatives a class'] == 13.5 and drawn['draws'] == 4 and drawn['precision'] > whole['precision']
    foreign = rows['foreign, all']
    assert foreign['precision'] == pytest.approx(50) and foreign['recall'] == 75 and foreign['negatives a class'] == 5
    assert rows['foreign, 9 per positive']['precision'] == pytest.approx(50), 'there are no more than five'
    first, second = findings.tables[1].rows
    assert (first['class'], first['name'], second['name'], second['threshold']) == (0, 'a', 'd', 5)
    assert (first['recall'], second['recall']) == (100, 50)
    assert first['precision, other classes, all'] == pytest.approx(100 / 3)
    assert second['F1, foreign, all'] == pytest.approx(50)
    assert any('0 of 2 classes have fewer' in note for note in findings.notes)


def test_spread_is_that_of_the_draws_of_the_mean_over_classes():
    """Against 300 tables of one draw each."""
    counts = Counts(*(np.full(20, number) for number in (15, 20, 50, 1000)))
    row = mean_row('', '', quality(counts, 3000), counts.positives)
    single = [mean_row('', '', quality(counts, 1, seed), counts.positives) for seed in range(300)]
    for name in ('precision', 'F1'):
        values = [one[name] for one in single]
        assert row[f'{name} std'] == pytest.approx(np.std(values, ddof=1), rel=.15)
        assert row[name] == pytest.approx(np.mean(values), abs=.3)
        assert single[0][f'{name} std'] is None


def test_trained_network_s_findings_are_scikit_learns(digits_checkpoint, tmp_path):
    trained = load_trained(digits_checkpoint)
    model, train, validation = trained.model, trained.images('train'), trained.images()
    findings, thresholds = classify(model, train, validation, [5, 2], validation.class_names)
    rows = {row['class']: row for row in findings.tables[1].rows if row['method'] == 'extracted'}
    assert list(rows) == [2, 5]

    def logits(images, index):
        keep = {block: model.codewords(block)[index] for block in model.coded_blocks}
        found = [(model.forward_energies(x, keep)[0][y >= 0, index], y[y >= 0]) for x, y in images]
        return (torch.cat(parts).numpy() for parts in zip(*found))

    for index in (2, 5):
        scores, targets = logits(train, index)
        best = max(f1_score(targets == index, scores >= level) for level in np.unique(scores[targets == index]))
        threshold = thresholds.thresholds[index]
        assert f1_score(targets == index, scores >= threshold) == pytest.approx(best)
        scores, targets = logits(validation, index)
        truth, named = targets == index, scores >= threshold
        assert rows[index]['precision, other classes, all'] == pytest.approx(100 * precision_score(truth, named))
        assert rows[index]['recall'] == pytest.approx(100 * recall_score(truth, named))
        assert rows[index]['F1, other classes, all'] == pytest.approx(100 * f1_score(truth, named))
    assert min(row['F1, other classes, all'] for row in rows.values()) > 60, 'the paths carry the classes'
    full = by_kind(findings, 'full network')['other classes, all']
    assert full['F1'] > 60
    thresholds.save(tmp_path / 'classifiers.json')
    content = json.loads((tmp_path / 'classifiers.json').read_text())
    assert content['fingerprint'] == fingerprint(model) and content['class_names'] == [str(k) for k in range(10)]
    assert content['thresholds'] == {'2': thresholds.thresholds[2], '5': thresholds.thresholds[5]}


def test_train_limit_is_of_the_training_images_alone_and_said():
    model = random_network()
    images, targets = torch.randn(40, 3, 8, 8), torch.arange(40) % 10
    batches = batches_of(images, targets, 16)
    findings, _ = classify(model, batches, batches, train_limit=2, draws=2)
    assert any('on 20 training images' in note and 'on 40 validation' not in note for note in findings.notes)
    assert any('of 40 validation images' in note for note in findings.notes)
    assert any('limited to 2 of each class' in note for note in findings.notes)
    assert findings.tables[0].rows[0]['positives a class'] == 4
    assert not any('limited' in note for note in classify(
        model, batches, batches, [0])[0].notes)


def test_wrong_input_is_an_error():
    model, images = random_network(), torch.randn(10, 3, 8, 8)
    batches = [(images, torch.arange(10))]
    few = [(images, torch.arange(10) % 9)]
    for match, call in {
        'no coded blocks': dict(model=random_network('resnext11_10x11d')),
        'there is no class 10': dict(classes=[0, 10]),
        'name one class': dict(classes=[]),
        r'classes is \[1.5\]': dict(classes=[1.5]),
        'there is no class -1': dict(classes=[-1]),
        'draws is 0': dict(draws=0),
        'train_limit is 0': dict(train_limit=0),
        'no samples': dict(validation=[]),
        'no validation image of class 9': dict(validation=few),
        'no training image of class 9': dict(train=few),
        'a target is 12, the model has 10': dict(validation=[(torch.cat([images] * 2), torch.arange(20) % 13)]),
        'with coded blocks': dict(stock=model),
        'there are no samples': dict(foreign=[]),
    }.items():
        with pytest.raises(ValueError, match=match):
            classify(**{'model': model, 'train': batches, 'validation': batches, **call})
    assert classify(model, few, few, [3, 4])[1].thresholds.keys() == {3, 4}, 'of classes that have images'


def test_foreign_targets_mean_nothing():
    model, images = random_network(), torch.randn(10, 3, 8, 8)
    batches = [(images, torch.arange(10))]
    rows = [by_kind(classify(model, batches, batches, [0, 1], foreign=[(images.flip(3), target)])[0])['foreign, all']
            for target in (torch.arange(10) + 500, torch.zeros(10, dtype=torch.int64))]
    assert rows[0] == rows[1] and rows[0]['negatives a class'] == 10


@pytest.mark.slow
def test_a_thousand_classes_and_fifty_thousand_samples_take_less_than_a_minute():
    rng = np.random.default_rng(0)
    classes, targets = np.arange(1000), np.arange(50_000) % 1000

    def scores():
        found = {name: rng.standard_normal((50_000, 1000), np.float32) for name in ('extracted', 'full network')}
        for table in found.values():
            table[np.arange(50_000), targets] += 4
        return Scores(classes, targets, found)

    train, validation, foreign = scores(), scores(), scores()
    start = time.monotonic()
    findings, thresholds = judge(train, validation, foreign)
    assert time.monotonic() - start < 60 and len(thresholds) == 1000 and len(findings.tables[1].rows) == 2000
