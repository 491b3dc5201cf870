"""Exported networks give the network's logits for any number of images; a file that does not is not left behind."""
import importlib.util

import pytest
import torch
from cutting import random_model

from timm_coded import extract_classes
from timm_coded.analysis.extraction.exporting import check_file, export_onnx, export_program

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def network():
    return extract_classes(random_model(), [3, 5])


@pytest.mark.filterwarnings('ignore:The given buffer is not writable')  # of torch.export.load
@pytest.mark.parametrize('batch', [1, 5])
def test_program_runs_for_any_batch(network, batch, tmp_path):
    assert export_program(network, 8, tmp_path / 'net.pt2') <= 1e-4
    x = torch.randn(batch, 3, 8, 8)
    torch.testing.assert_close(torch.export.load(tmp_path / 'net.pt2').module()(x), network(x))


def test_onnx_file_is_one_and_runs_for_any_batch(network, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    assert export_onnx(network, 8, tmp_path / 'net.onnx') <= 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ['net.onnx']
    session = onnxruntime.InferenceSession(tmp_path / 'net.onnx')
    for batch in (1, 5):
        x = torch.randn(batch, 3, 8, 8)
        logits, = session.run(None, {'images': x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('wrong', [
    lambda network, x: network(x) + 0.1,
    lambda network, x: network(x) * (1 if len(x) == 1 else 1.1),
    lambda network, x: network(x) * float('nan'),
], ids=['shifted', 'of a batch', 'not a number'])
def test_file_with_other_logits_is_deleted(network, tmp_path, wrong):
    path = tmp_path / 'net.pt2'
    path.write_text('')
    with torch.no_grad(), pytest.raises(ValueError, match='differ from the network.* it was deleted'):
        check_file(path, network, lambda x: wrong(network, x), 8)
    assert not path.exists()


def test_missing_packages_are_named_with_their_extra(network, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'onnxscript' else find(name))
    with pytest.raises(ValueError, match=r"needs onnxscript: pip install 'timm_coded\[onnx\]'"):
        export_onnx(network, 8, tmp_path / 'net.onnx')
    assert not [*tmp_path.iterdir()]


def test_network_stays_where_it_was(network, tmp_path):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_program(network, 8, tmp_path / 'net.pt2')
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
