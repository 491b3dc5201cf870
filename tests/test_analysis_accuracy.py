"""Accuracies of the network and its early decoders are those counted by hand."""
import numpy as np
import pytest

from timm_coded.analysis.accuracy import evaluate_accuracy, in_top
from timm_coded.analysis.outputs import Outputs

WORDS = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], np.uint8)


def test_accuracies_are_counted_sample_by_sample():
    logits = np.array([[3, 2, 1], [3, 2, 1], [0, 2, 1], [0, 1, 5]], np.float32)
    energies = {
        'layer2.0': np.array([[2, 2, 0, 0], [0, 2, 2, 0], [0, 0, 2, 2], [0, 2, 2, 0]], np.float32),  # 0 1 2 1
        'layer3.0': np.array([[2, 2, 0, 0], [2, 2, 0, 0], [0, 1.5, 1, .5], [0, 0, 1, 3]], np.float32),  # 0 0 1 2
    }
    outputs = Outputs(logits, energies, np.array([0, 1, 1, 2]), dict.fromkeys(energies, WORDS))
    findings = evaluate_accuracy(outputs)
    assert {row['what']: row['accuracy'] for row in findings.tables[0].rows} == {
        'network, top-1': 75., 'network, top-3': 100.,
        'early decoder of layer2.0': 50., 'early decoder of layer3.0': 75.}
    assert '4 samples of 3 classes' in findings.tables[0].title
    outputs.targets[:] = -1
    with pytest.raises(ValueError, match='classes the model does not know'):
        evaluate_accuracy(outputs)


def test_top_five_is_torchs():
    torch = pytest.importorskip('torch')
    logits = np.random.RandomState(0).randn(200, 12).astype(np.float32)
    targets = np.random.RandomState(1).randint(0, 12, 200)
    best = torch.tensor(logits).topk(5).indices.numpy()
    assert np.array_equal(in_top(logits, targets, 5), (best == targets[:, None]).any(1))
