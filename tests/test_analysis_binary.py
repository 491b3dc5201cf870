"""Thresholds are the best of all, counts those of scikit-learn, and drawn negatives as many as the protocol says."""
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from timm_coded.analysis.classifiers.binary import Counts, count, f1_threshold, f1_thresholds, quality, with_foreign


@pytest.mark.parametrize('seed', range(30))
def test_no_threshold_has_a_higher_f1(seed):
    rng = np.random.RandomState(seed)
    scores = rng.randn(60).astype(np.float32)
    if seed % 2:
        scores = scores.round(1)  # ties
    positive = rng.rand(60) < .3
    positive[0] = True
    found = f1_threshold(scores, positive)
    assert found.dtype == np.float32
    levels = np.unique(scores)
    middles = (levels[1:] + levels[:-1]) / 2
    every = np.array([f1_score(positive, scores >= level) for level in [levels[0], *middles]])
    best = np.flatnonzero(every > every.max() - 1e-12)[-1]  # the highest of the best
    assert f1_score(positive, scores >= found) == pytest.approx(every.max(), abs=1e-12)
    assert found == pytest.approx([levels[0], *middles][best], abs=1e-6)


def test_thresholds_by_hand():
    def of(scores, positive):
        return f1_threshold(np.array(scores, np.float32), np.array(positive, bool))

    assert of([4, 3, 1, 0], [1, 1, 0, 0]) == 2
    assert of([4, 3, 3, 0], [1, 1, 0, 0]) == 1.5  # both of the tied are named or none: F1 4/5, or 2/3
    assert of([4, 2, 0], [1, 1, 1]) == 0  # all: the lowest score itself
    assert of([4, 2], [0, 1]) == 2
    one = np.float32(1)
    for upper, lower in ((one, np.nextafter(one, np.float32(0))), (np.nextafter(one, np.float32(2)), one)):
        assert of([upper, lower], [1, 0]) == upper  # no number lies between: it names the upper one alone


def test_each_column_has_the_threshold_of_its_class():
    scores = np.array([[5, 0], [1, 7], [0, 9]], np.float32)
    assert f1_thresholds(scores, np.array([4, 8, 8]), np.array([4, 8])).tolist() == [3, 3.5]


def test_counts_and_quality_are_scikit_learns():
    rng = np.random.RandomState(0)
    classes, targets = np.array([1, 4, 5]), rng.randint(0, 6, 200)
    scores, outside = rng.randn(200, 3).astype(np.float32), rng.randn(77, 3).astype(np.float32)
    scores[np.arange(200)[:, None] % 3 == np.arange(3)] += 1
    thresholds = np.array([0, .5, 1], np.float32)
    counts = count(scores, targets, classes, thresholds)
    found, foreign = quality(counts), quality(with_foreign(counts, outside, thresholds))
    for column, index in enumerate(classes):
        named, positive = scores[:, column] >= thresholds[column], targets == index
        (_, false), (missed, hits) = confusion_matrix(positive, named)
        assert counts.true_positives[column] == hits and counts.false_positives[column] == false
        assert counts.positives[column] == hits + missed and counts.negatives[column] == 200 - hits - missed
        assert found.precision[0, column] == pytest.approx(100 * precision_score(positive, named))
        assert found.recall[column] == pytest.approx(100 * recall_score(positive, named))
        assert found.f1[0, column] == pytest.approx(100 * f1_score(positive, named))
        mixed = np.concatenate([named[positive], outside[:, column] >= thresholds[column]])
        truth = np.arange(len(mixed)) < positive.sum()
        assert foreign.precision[0, column] == pytest.approx(100 * precision_score(truth, mixed))
        assert foreign.f1[0, column] == pytest.approx(100 * f1_score(truth, mixed))
    assert foreign.recall.tolist() == found.recall.tolist() and foreign.negatives.tolist() == [77] * 3


def test_drawn_negatives_are_nine_for_each_positive_as_if_samples_were_drawn():
    """20 positives of which 15 are named, 1000 negatives of which 50 are."""
    counts = Counts(*(np.array([number]) for number in (15, 20, 50, 1000)))
    found = quality(counts, draws=20000)
    assert found.negatives.tolist() == [180] and found.precision.shape == (20000, 1)
    rng = np.random.RandomState(0)
    named = np.arange(1000) < 50
    drawn = np.array([named[rng.permutation(1000)[:180]].sum() for _ in range(4000)])
    precision = 100 * 15 / (15 + drawn)
    assert found.precision.mean() == pytest.approx(precision.mean(), abs=.5)
    assert found.precision.std() == pytest.approx(precision.std(), rel=.06)
    again = quality(counts, draws=20000)
    assert again.f1.tolist() == found.f1.tolist() != quality(counts, draws=20000, seed=1).f1.tolist()


def test_where_there_are_fewer_all_negatives_are_taken():
    counts = Counts(*(np.array([number]) for number in (15, 20, 30, 100)))
    found = quality(counts, draws=3)
    assert found.negatives.tolist() == [100]
    assert found.precision[:, 0] == pytest.approx(100 * 15 / 45) and found.f1[:, 0] == pytest.approx(100 * 30 / 65)


def test_a_classifier_that_names_nothing_has_the_precision_of_scikit_learns_default():
    found = quality(Counts(*(np.array([number]) for number in (0, 5, 0, 45))))
    assert found.precision.tolist() == [[0]] and found.recall.tolist() == [0] and found.f1.tolist() == [[0]]
