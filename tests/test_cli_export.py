"""`timm-coded export` writes the network of a checkpoint, checks what it wrote, and tells in a line what cannot be."""
import importlib.util
import json

import pytest
import timm
import torch
from cutting import random_model
from run_command import complaints

from timm_coded.cli import main

pytestmark = [
    pytest.mark.usefixtures('one_thread'),
    pytest.mark.filterwarnings('ignore:The given buffer is not writable'),  # of torch.export.load
]


def export(*args):
    return main(['export', *map(str, args)])


@pytest.fixture(scope='module')
def model():
    return random_model()


@pytest.fixture(scope='module')
def weights(model, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'net.pth'
    torch.save(model.state_dict(), path)
    return path


def as_coded(weights, *args):
    return export(weights, '--model', 'coded_resnext11_10x11d', *args)


def test_names_that_are_not_at_hand_are_the_indices(weights, tmp_path, capsys):
    assert as_coded(weights, '--torch-export', tmp_path / 'net.pt2') == 0
    extra = {'timm_coded': ''}
    torch.export.load(tmp_path / 'net.pt2', extra_files=extra)
    assert json.loads(extra['timm_coded'])['class_names'] == [*'0123456789']
    assert '--class-names FILE' in capsys.readouterr().err


@torch.no_grad()
def test_files_give_the_outputs_of_the_checkpoint(model, weights, tmp_path, capsys):
    onnxruntime = pytest.importorskip('onnxruntime')
    (tmp_path / 'names.txt').write_text('\n'.join('abcdefghij'))
    program, onnx = tmp_path / 'new' / 'er' / 'net.pt2', tmp_path / 'other' / 'net.onnx'
    assert as_coded(weights, '--torch-export', program, '--onnx', onnx, '--energies', '--img-size', 16,
                    '--class-names', tmp_path / 'names.txt') == 0
    out = capsys.readouterr().err
    for path in program, onnx:
        assert (f'exported: {path}, {path.stat().st_size / 1e6:.1f} MB, any number of images of 16 pixels, logits, '
                'energies and early decoders: at most ') in out
    images = torch.randn(4, 3, 16, 16)
    logits, energies = model.forward_energies(images)
    extra = {'timm_coded': ''}
    outputs = torch.export.load(program, extra_files=extra).module()(images)
    torch.testing.assert_close(outputs['logits'], logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs['energies.layer3.0'], energies[-1], rtol=1e-4, atol=1e-4)
    session = onnxruntime.InferenceSession(onnx)
    torch.testing.assert_close(
        torch.from_numpy(session.run(['logits'], {'images': images.numpy()})[0]), logits, rtol=1e-4, atol=1e-4)
    about = json.loads(extra['timm_coded'])
    assert about == json.loads(session.get_modelmeta().custom_metadata_map['timm_coded'])
    config = timm.data.resolve_model_data_config(model)
    assert about == {
        'architecture': 'coded_resnext11_10x11d', 'classes': [*range(10)], 'class_names': [*'abcdefghij'],
        'input_size': [3, 16, 16], 'mean': [*config['mean']], 'std': [*config['std']],
        'interpolation': config['interpolation'], 'crop_pct': config['crop_pct'], 'crop_mode': config['crop_mode'],
    }


def test_stablehlo_takes_the_batch_that_was_asked_for(weights, tmp_path, capsys, monkeypatch):
    asked = []

    def write(network, size, folder, energies, about, batch_size):
        asked.append((size, folder, energies, batch_size))
        (folder / 'inner').mkdir(parents=True)
        for path in folder / 'text', folder / 'inner' / 'weights':
            path.write_bytes(bytes(1_500_000))
        return 2e-5

    monkeypatch.setattr('timm_coded.cli.export_flags.export_stablehlo', write)  # itself is tested by its own name
    folder = tmp_path / 'new' / 'net'
    folder.mkdir(parents=True)  # an empty one will do
    assert as_coded(weights, '--stablehlo', folder, '--stablehlo-batch-size', 3) == 0
    assert asked == [(32, folder, False, 3)]
    assert (f'exported: {folder}, 3.0 MB, 3 images of 32 pixels, logits: at most 2e-05 from the network'
            in capsys.readouterr().err)
    assert as_coded(weights, '--stablehlo', tmp_path / 'one') == 0
    assert asked[1] == (32, tmp_path / 'one', False, 1)


def test_file_with_other_outputs_is_one_line_and_not_left(weights, tmp_path, capsys, monkeypatch):
    load = torch.export.load

    class Wrong:
        def __init__(self, path):
            self.program = load(path)

        def module(self):
            return lambda images: self.program.module()(images) + 0.1

    monkeypatch.setattr(torch.export, 'load', Wrong)
    assert as_coded(weights, '--torch-export', tmp_path / 'net.pt2') == 2
    err = capsys.readouterr().err.splitlines()
    assert 'logits of the exported file' in err[-1] and 'it was deleted' in err[-1] and not [*tmp_path.iterdir()]


@pytest.mark.parametrize('args, message', [
    ([], 'nothing to write: give one of --onnx, --torch-export, --stablehlo'),
    (['--onnx', 'full'], '--onnx full is a folder: give the name of a file'),
    (['--torch-export', 'full'], '--torch-export full is a folder'),
    (['--stablehlo', 'full'], '--stablehlo full is there already'),
    (['--stablehlo', 'full/file'], '--stablehlo full/file is there already'),
    (['--onnx', 'net', '--torch-export', 'full/../net'], 'name the same file'),
    (['--onnx', 'net', '--stablehlo-batch-size', '0'], 'must be at least 1'),
    (['--torch-export', 'full/file/net.pt2'], 'cannot write to --torch-export full/file: '),
    (['--torch-export', 'net', '--class-names', 'none.txt'], 'cannot read --class-names none.txt'),
    (['--torch-export', 'net', '--img-size', '0'], 'must be at least 1'),
])
def test_wrong_input_is_one_line_and_writes_nothing(weights, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'file').touch()
    try:
        status = as_coded(weights, *args)
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    line, = complaints(err)
    assert status == 2 and message in line and out == ''
    assert [path.name for path in tmp_path.iterdir()] == ['full']


@pytest.mark.parametrize('package, flag, extra', [
    ('onnxscript', '--onnx', 'onnx'), ('torch_xla', '--stablehlo', 'xla')])
def test_missing_packages_are_told_before_anything_is_done(tmp_path, capsys, monkeypatch, package, flag, extra):
    find = importlib.util.find_spec
    monkeypatch.setattr('importlib.util.find_spec', lambda name, *args: None if name == package else find(name, *args))
    assert export(tmp_path / 'none.pth', flag, tmp_path / 'net') == 2
    assert f"pip install 'timm_coded[{extra}]'" in capsys.readouterr().err


def test_stock_network_has_no_energies_to_export(tmp_path, capsys):
    torch.save(timm.create_model('resnext11_10x11d').state_dict(), tmp_path / 'net.pth')
    assert export(tmp_path / 'net.pth', '--model', 'resnext11_10x11d', '--onnx', tmp_path / 'a', '--energies') == 2
    assert 'has no coded blocks, and so no energies: leave out --energies' in capsys.readouterr().err
