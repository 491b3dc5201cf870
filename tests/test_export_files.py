"""Exported networks give the network's outputs for any number of images, and their files tell what they are."""
import importlib.util
import json
import logging
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from cutting import random_model

from timm_coded import extract_classes
from timm_coded.export import export_onnx, export_program

pytestmark = [
    pytest.mark.usefixtures('one_thread'),
    pytest.mark.filterwarnings('ignore:The given buffer is not writable'),  # of torch.export.load
]


@pytest.fixture(scope='module')
def network():
    return extract_classes(random_model(), [3, 5])


@pytest.fixture(scope='module')
def coded():
    return random_model()


def run_onnx(path, images):
    """What onnxruntime makes of a file, by name, and its metadata."""
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(None, {'images': images.numpy()})
    return {name: torch.from_numpy(output) for name, output in zip(names, outputs)}, session.get_modelmeta()


def assert_tells(model, outputs, images):
    """Logits, energies and early decoders are the model's; the decoder is the nearest codeword, Section 4.4."""
    logits, energies = model.forward_energies(images)
    blocks = model.coded_blocks
    assert list(outputs) == ['logits', *(f'energies.{b}' for b in blocks), *(f'decoder.{b}' for b in blocks)]
    torch.testing.assert_close(outputs['logits'], logits, rtol=1e-4, atol=1e-4)
    for block, expected in zip(blocks, energies):
        torch.testing.assert_close(outputs[f'energies.{block}'], expected, rtol=1e-4, atol=1e-4)
        words = model.codewords(block).double().numpy()
        ratio = words[0].sum() / words.shape[1]
        distances = ((ratio * expected.double().numpy()[:, None] - words) ** 2).sum(2)
        decoded = outputs[f'decoder.{block}']
        assert decoded.dtype == torch.int64 and np.array_equal(decoded.numpy(), distances.argmin(1))


@pytest.mark.parametrize('batch', [1, 5])
def test_program_runs_for_any_batch(network, batch, tmp_path):
    assert export_program(network, 8, tmp_path / 'net.pt2') <= 1e-4
    x = torch.randn(batch, 3, 8, 8)
    torch.testing.assert_close(torch.export.load(tmp_path / 'net.pt2').module()(x), network(x))


def test_onnx_file_is_one_and_runs_for_any_batch(network, tmp_path):
    assert export_onnx(network, 8, tmp_path / 'net.onnx') <= 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ['net.onnx']
    for batch in (1, 5):
        x = torch.randn(batch, 3, 8, 8)
        outputs, _ = run_onnx(tmp_path / 'net.onnx', x)
        assert list(outputs) == ['logits']
        torch.testing.assert_close(outputs['logits'], network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('is_wrong', [lambda number: number < 2, lambda number: number > 2], ids=['fewer', 'more'])
def test_program_that_is_wrong_for_other_numbers_of_images_is_not_left(network, tmp_path, monkeypatch, is_wrong):
    load = torch.export.load

    def load_wrong(path):
        program = load(path).module()
        return SimpleNamespace(module=lambda: lambda images: program(images) + 0.1 * is_wrong(len(images)))

    monkeypatch.setattr(torch.export, 'load', load_wrong)
    with pytest.raises(ValueError, match='logits of the exported file .*net.pt2 differs'):
        export_program(network, 8, tmp_path / 'net.pt2')
    assert not [*tmp_path.iterdir()]


def test_onnx_file_with_other_outputs_is_not_left(network, tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip('onnxruntime')

    class Wrong(onnxruntime.InferenceSession):
        def run(self, names, inputs):
            return [output + 0.1 for output in super().run(names, inputs)]

    monkeypatch.setattr(onnxruntime, 'InferenceSession', Wrong)
    with pytest.raises(ValueError, match='logits of the exported file .*net.onnx differs'):
        export_onnx(network, 8, tmp_path / 'net.onnx')
    assert not [*tmp_path.iterdir()]


@torch.no_grad()
def test_program_with_energies_tells_what_each_coded_block_says(coded, tmp_path):
    assert export_program(coded, 16, tmp_path / 'net.pt2', energies=True, about={'mean': [0.5]}) <= 1e-4
    extra = {'timm_coded': ''}
    x = torch.randn(4, 3, 16, 16)
    assert_tells(coded, torch.export.load(tmp_path / 'net.pt2', extra_files=extra).module()(x), x)
    assert json.loads(extra['timm_coded']) == {'mean': [0.5]}


@torch.no_grad()
def test_onnx_file_with_energies_tells_what_each_coded_block_says(coded, tmp_path):
    assert export_onnx(coded, 16, tmp_path / 'net.onnx', energies=True, about={'mean': [0.5]}) <= 1e-4
    x = torch.randn(4, 3, 16, 16)
    outputs, about = run_onnx(tmp_path / 'net.onnx', x)
    assert_tells(coded, outputs, x)
    assert json.loads(about.custom_metadata_map['timm_coded']) == {'mean': [0.5]}


@torch.no_grad()
def test_extracted_network_tells_which_of_its_classes_a_block_names(network, tmp_path):
    export_onnx(network, 16, tmp_path / 'net.onnx', energies=True)
    x = torch.randn(4, 3, 16, 16)
    outputs, _ = run_onnx(tmp_path / 'net.onnx', x)
    for block, energies in zip(network.coded_blocks, network.forward_energies(x)[1]):
        torch.testing.assert_close(outputs[f'energies.{block}'], energies, rtol=1e-4, atol=1e-4)
        scores = energies @ network.codewords(block).float().T
        assert torch.equal(outputs[f'decoder.{block}'], scores.argmax(1)) and scores.shape == (4, 2)


def test_stock_network_has_logits_and_no_energies(tmp_path):
    model = timm.create_model('resnext11_10x11d').eval()
    with pytest.raises(ValueError, match='has no coded blocks'):
        export_program(model, 8, tmp_path / 'net.pt2', energies=True)
    assert not [*tmp_path.iterdir()]
    export_program(model, 8, tmp_path / 'net.pt2')
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(torch.export.load(tmp_path / 'net.pt2').module()(x), model(x))


@pytest.mark.parametrize('package', ['onnx', 'onnxscript', 'onnxruntime'])
def test_missing_packages_are_named_with_their_extra(network, tmp_path, monkeypatch, package):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == package else name)
    with pytest.raises(ValueError, match=rf"needs {package}: pip install 'timm_coded\[onnx\]'"):
        export_onnx(network, 8, tmp_path / 'net.onnx')
    assert not [*tmp_path.iterdir()]


def test_what_an_exporter_says_of_itself_is_not_passed_on_and_what_is_said_later_is(
        network, tmp_path, monkeypatch, caplog):
    save = torch.export.save

    def save_with_words(*args, **kwargs):
        logging.getLogger('exporter').warning('a part of mine is old')
        warnings.warn('a part of mine is old', stacklevel=1)
        save(*args, **kwargs)

    monkeypatch.setattr(torch.export, 'save', save_with_words)
    export_program(network, 8, tmp_path / 'net.pt2')
    logging.getLogger('user').warning('said later')
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == ['said later']


def test_network_stays_as_it_was(tmp_path):
    network = random_model().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_program(network, 8, tmp_path / 'net.pt2')
    assert network.training and all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize('format', ['onnx', 'program'])
def test_imagenet_model_with_energies(format, tmp_path):
    model = timm.create_model('coded_resnext50_32x4d').eval()
    x = torch.randn(3, 3, 224, 224)
    if format == 'onnx':
        assert export_onnx(model, 224, tmp_path / 'net.onnx', energies=True) <= 1e-4
        outputs, _ = run_onnx(tmp_path / 'net.onnx', x)
    else:
        assert export_program(model, 224, tmp_path / 'net.pt2', energies=True) <= 1e-4
        outputs = torch.export.load(tmp_path / 'net.pt2').module()(x)
    assert_tells(model, outputs, x)
