"""A folder of StableHLO runs on XLA without this package, and gives what the network gives."""
import importlib.util
import json
import os
import subprocess
import sys

import pytest
import timm
import torch
from cutting import random_model

from timm_coded import extract_classes
from timm_coded.export import export_stablehlo, stablehlo

pytestmark = pytest.mark.filterwarnings('ignore:The given buffer is not writable')

# as a user of the folder does it, with nothing of ours
RUN = '''
import sys, torch
from torch_xla.stablehlo import StableHLOGraphModule
outputs = StableHLOGraphModule.load(sys.argv[1])(torch.load(sys.argv[2]))
assert not any(name.startswith('timm') for name in sys.modules)
torch.save(torch.utils._pytree.tree_map(lambda value: value.cpu(), outputs), sys.argv[3])
'''


def run_on_xla(folder, images, tmp_path):
    torch.save(images, tmp_path / 'images.pt')
    subprocess.run(
        [sys.executable, '-c', RUN, folder, tmp_path / 'images.pt', tmp_path / 'outputs.pt'], check=True, timeout=300,
        env={**os.environ, 'PJRT_DEVICE': 'CPU'})
    return torch.load(tmp_path / 'outputs.pt')


@torch.no_grad()
def test_folder_runs_on_xla_with_logits_energies_and_decoders(tmp_path):
    model = random_model()
    folder = tmp_path / 'net'
    assert export_stablehlo(model, 16, folder, energies=True, about={'mean': [0.5]}, batch_size=3) <= 1e-4
    assert {path.name for path in tmp_path.iterdir()} == {'net'}
    assert json.loads((folder / 'timm_coded.json').read_text()) == {'mean': [0.5]}
    text = (folder / 'functions' / 'forward.mlir').read_text()
    assert 'stablehlo.convolution' in text
    images = torch.randn(3, 3, 16, 16)
    outputs = run_on_xla(folder, images, tmp_path)
    logits, energies = model.forward_energies(images)
    torch.testing.assert_close(outputs['logits'], logits, rtol=1e-4, atol=1e-4)
    for block, expected in zip(model.coded_blocks, energies):
        torch.testing.assert_close(outputs[f'energies.{block}'], expected, rtol=1e-4, atol=1e-4)
        distances = torch.cdist(expected * model.codewords(block)[0].sum() / 10, model.codewords(block).float())
        assert torch.equal(outputs[f'decoder.{block}'], distances.argmin(1))


@torch.no_grad()
def test_extracted_network_runs_on_xla(tmp_path):
    network = extract_classes(random_model(), [3, 5])
    (tmp_path / 'net').mkdir()  # an empty one will do
    assert export_stablehlo(network, 8, tmp_path / 'net') <= 1e-4
    images = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(run_on_xla(tmp_path / 'net', images, tmp_path), network(images), rtol=1e-4, atol=1e-4)


def test_groups_are_packed_and_the_network_stays_as_it_was(tmp_path, monkeypatch):
    programs = []
    monkeypatch.setattr(stablehlo, 'convert', lambda scratch, folder: programs.append(
        torch.export.load(scratch / 'program.pt2')) or folder.mkdir() or torch.save(
            torch.zeros(1, 1000), scratch / 'outputs.pt'))
    model = timm.create_model('coded_resnext50_32x4d').eval()
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match='logits of the exported file .* differs'):
        export_stablehlo(model, 64, tmp_path / 'net')
    groups = [node.args[-1] for node in programs[0].graph.nodes if 'conv2d' in str(node.target) and len(node.args) == 7]
    assert [type(module) for module in model.modules()] == kinds
    assert groups and 1 < max(groups) < 32
    assert not [*tmp_path.iterdir()]


def test_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / 'mine').touch()
    with pytest.raises(OSError, match='is not empty'):
        export_stablehlo(random_model(), 8, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['mine']


def test_what_torch_xla_says_is_told_and_nothing_is_left(tmp_path, monkeypatch):
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    with pytest.raises(ValueError, match='torch_xla cannot write this network as StableHLO: .*Error.*program.pt2'):
        stablehlo.convert(scratch, tmp_path / 'net')  # there is no program
    assert not (tmp_path / 'net').exists()


def test_missing_torch_xla_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'timm_coded\[xla\]'"):
        export_stablehlo(random_model(), 8, tmp_path / 'net')


@pytest.mark.slow
def test_imagenet_model_with_energies(tmp_path):
    model = timm.create_model('coded_resnext50_32x4d').eval()
    assert export_stablehlo(model, 224, tmp_path / 'net', energies=True) <= 1e-4
