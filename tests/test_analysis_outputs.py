"""Outputs of a model: what is stored is what the model gives, and a file that is not right is refused."""
import json

import numpy as np
import pytest
import timm
import torch

from timm_coded.analysis.outputs import Outputs, collect_outputs, fingerprint, load_outputs
from timm_coded.models import early_decode


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return timm.create_model('coded_resnext11_10x11d').eval()


@pytest.fixture(scope='module')
def batches():
    """7 images in batches of 4, the last one filled up."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(7, 3, 8, 8, generator=generator)
    targets = torch.tensor([3, 1, 4, 1, 5, 9, 2])
    last = torch.cat([images[4:], images[-1:]]), torch.cat([targets[4:], torch.tensor([-1])])
    return [(images[:4], targets[:4]), last]


def test_outputs_are_those_of_the_model_without_the_fillers(model, batches):
    outputs = collect_outputs(model, batches, [f'class {k}' for k in range(10)], {'split': 'test'})
    logits, energies = model.forward_energies(torch.cat([images for images, _ in batches])[:7])
    assert outputs.targets.tolist() == [3, 1, 4, 1, 5, 9, 2]
    np.testing.assert_allclose(outputs.logits, logits.detach(), atol=1e-6)
    assert outputs.blocks == model.coded_blocks
    for block, energy in zip(model.coded_blocks, energies):
        np.testing.assert_allclose(outputs.energies[block], energy.detach(), atol=1e-6)
        assert np.array_equal(outputs.codewords[block], model.codewords(block))
        assert np.array_equal(outputs.decoded()[block], early_decode(energy, model.codewords(block)))
    assert outputs.name_of(3) == 'class 3' and outputs.about == {'split': 'test'}


def test_file_gives_back_what_was_stored_under_any_name(model, batches, tmp_path):
    outputs = collect_outputs(model, batches, 'abcdefghij', {'checkpoint': 'x'})
    for name in ('outputs.npz', 'outputs'):
        outputs.save(tmp_path / name)
        again = load_outputs(tmp_path / name)
        assert again.logits.dtype == np.float32 and np.array_equal(again.logits, outputs.logits)
        assert again.targets.dtype == np.int64 and np.array_equal(again.targets, outputs.targets)
        assert again.blocks == outputs.blocks
        for block in outputs.blocks:
            assert np.array_equal(again.energies[block], outputs.energies[block])
            assert np.array_equal(again.codewords[block], outputs.codewords[block])
        assert again.class_names == list('abcdefghij') and again.about == {'checkpoint': 'x'}
        assert again.fingerprint == fingerprint(model)


def test_samples_of_other_classes_have_no_targets(model, batches):
    far = [(images, target * 1000) for images, target in batches]
    outputs = collect_outputs(model, far, foreign=True)
    assert outputs.targets.tolist() == [-1] * 7
    named = collect_outputs(model, far, ['their name'], foreign=True)
    assert named.class_names == [], "the names of other classes are none of the model's"
    with pytest.raises(ValueError, match='2 class names for 10'):
        collect_outputs(model, batches, ['a', 'b'])


def test_fingerprint_tells_models_apart_by_any_number_in_them(model):
    torch.manual_seed(0)
    same = timm.create_model('coded_resnext11_10x11d')
    assert fingerprint(same) == fingerprint(model)
    with torch.no_grad():
        same.fc.bias[3] += 1e-6
    assert fingerprint(same) != fingerprint(model)


def test_model_without_coded_blocks_and_empty_data_are_errors(model):
    with pytest.raises(ValueError, match='no coded blocks'):
        collect_outputs(timm.create_model('resnext11_10x11d'), [])
    with pytest.raises(ValueError, match='no samples'):
        collect_outputs(model, [])
    with pytest.raises(ValueError, match='no samples'):
        collect_outputs(model, [(torch.zeros(2, 3, 8, 8), torch.tensor([-1, -1]))])


def changed(outputs: Outputs, path, **arrays):
    outputs.save(path)
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    np.savez(path, **{**kept, **arrays})


@pytest.mark.parametrize('arrays, expected', [
    ({'targets': np.array([0, 1])}, r'targets are \(2,\), expected \(7,\)'),
    ({'targets': np.array([0, 1, 2, 3, 4, 5, 10])}, 'targets go from 0 to 10, the model has 10'),
    ({'logits': np.zeros((7, 9), np.float32)}, 'codewords of layer2.0'),
    ({'energies/layer3.0': np.zeros((7, 9), np.float32)}, 'energies of layer3.0'),
    ({'targets': np.zeros(7, np.float32)}, 'targets are of type float32'),
    ({'logits': np.full((7, 10), np.nan, np.float32)}, 'logits are not all finite'),
    ({'energies/layer2.0': np.full((7, 10), np.inf, np.float32)}, 'layer2.0 are not all finite'),
    ({'energies/layer2.0': np.zeros((7, 10), np.int64)}, 'layer2.0 are of type int64'),
    ({'codewords/layer2.0': np.zeros((10, 10), np.uint8)}, 'no coding scheme'),
    ({'codewords/layer2.0': np.full((10, 10), 2, np.uint8)}, 'no coding scheme'),
    ({'about': np.array(json.dumps({'version': 99}))}, 'version 99'),
    ({'about': np.array('no json')}, 'no file of outputs'),
])
def test_file_whose_parts_do_not_fit_is_refused(model, batches, tmp_path, arrays, expected):
    changed(collect_outputs(model, batches), tmp_path / 'x.npz', **arrays)
    with pytest.raises(ValueError, match=expected):
        load_outputs(tmp_path / 'x.npz')


def test_other_files_are_refused(tmp_path, model, batches):
    (tmp_path / 'text.npz').write_text('hello')
    (tmp_path / 'empty.npz').write_bytes(b'')
    np.savez(tmp_path / 'other.npz', a=np.zeros(3))
    np.save(tmp_path / 'single.npy', np.zeros(3))
    np.savez(tmp_path / 'pickled.npz', about=np.array([{}], object))
    collect_outputs(model, batches).save(tmp_path / 'cut.npz')
    content = (tmp_path / 'cut.npz').read_bytes()
    (tmp_path / 'cut.npz').write_bytes(content[:len(content) // 2])
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=f'{path.name} is no file of outputs'):
            load_outputs(path)
    with pytest.raises(FileNotFoundError):
        load_outputs(tmp_path / 'none.npz')
