"""Codewords travel with the weights: checkpoints, other numbers of classes, scheme files."""
import logging

import pytest
import timm
import torch

import timm_coded


def build(name='coded_resnext11_10x11d', **kwargs):
    return timm.create_model(name, **kwargs).eval()


def words(num_classes, num_subnns, num_active, source='optimal'):
    scheme = timm_coded.coding_scheme(num_classes, num_subnns, num_active, source=source)
    return torch.from_numpy(scheme.codewords.copy())


def test_one_persistent_buffer_for_each_scheme():
    state = build('coded_resnext50_32x4d').state_dict()
    found = {key: value for key, value in state.items() if 'codewords' in key}
    assert set(found) == {'codewords_16of32', 'codewords_8of32'}
    assert torch.equal(found['codewords_16of32'], words(1000, 32, 16))
    assert torch.equal(found['codewords_8of32'], words(1000, 32, 8))
    assert {value.dtype for value in found.values()} == {torch.uint8}


def test_differing_codewords_of_a_checkpoint_are_taken_over_and_said(caplog):
    trained = build(scheme_source='paper')
    model = build()
    assert not torch.equal(trained.codewords('layer2.0'), model.codewords('layer2.0'))
    with caplog.at_level(logging.WARNING):
        model.load_state_dict(trained.state_dict())
    assert torch.equal(model.codewords('layer2.0'), words(10, 10, 5, 'paper'))
    assert torch.equal(model.codewords('layer3.0'), words(10, 10, 3, 'paper'))
    assert 'codewords_5of10 of the checkpoint differs' in caplog.text
    assert 'codewords_3of10 of the checkpoint differs' in caplog.text


def test_equal_codewords_load_without_a_word(caplog):
    build().load_state_dict(build().state_dict())
    assert caplog.text == ''


def test_a_backbone_for_other_classes_keeps_the_models_own_codewords(caplog):
    trained = {key: value for key, value in build().state_dict().items() if not key.startswith('fc.')}
    model = build(num_classes=7)
    result = model.load_state_dict(trained, strict=False)
    assert set(result.missing_keys) == {'fc.weight', 'fc.bias'}
    assert torch.equal(model.codewords('layer3.0'), words(7, 10, 3))
    assert 'is for 10 classes, the model has 7' in caplog.text


def test_a_model_without_classes_takes_the_checkpoints_codewords():
    state = build(scheme_source='paper').state_dict()
    trained = {key: value for key, value in state.items() if not key.startswith('fc.')}
    model = build(num_classes=0)
    model.load_state_dict(trained)
    assert torch.equal(model.codewords('layer3.0'), words(10, 10, 3, 'paper'))


def test_codewords_load_into_a_model_inside_another():
    outer = torch.nn.ModuleDict({'net': build()})
    outer.load_state_dict({f'net.{key}': value for key, value in build('resnext11_10x11d').state_dict().items()})
    outer.load_state_dict({f'net.{key}': value for key, value in build(scheme_source='paper').state_dict().items()})
    assert torch.equal(outer['net'].codewords('layer2.0'), words(10, 10, 5, 'paper'))


def test_wrong_number_of_subnns_does_not_load():
    state = build().state_dict()
    state['codewords_5of10'] = torch.zeros(10, 12, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match='codewords_5of10'):
        build().load_state_dict(state)


def test_scheme_file_comes_back_as_the_models_codewords(tmp_path):
    path = tmp_path / 'scheme.txt'
    timm_coded.coding_scheme(10, 10, 3, source='paper').save(path)
    model = build(scheme_source=str(path))
    assert torch.equal(model.codewords('layer3.0'), words(10, 10, 3, 'paper'))
    assert torch.equal(model.codewords('layer2.0'), words(10, 10, 5))  # no file: the optimal one

    second = tmp_path / 'other.txt'
    timm_coded.coding_scheme(10, 10, 5, source='paper').save(second)
    model = build(scheme_source=[str(path), second])
    assert torch.equal(model.codewords('layer2.0'), words(10, 10, 5, 'paper'))


def test_scheme_file_that_does_not_fit_is_an_error(tmp_path):
    path = tmp_path / 'scheme.txt'
    timm_coded.coding_scheme(10, 10, 4).save(path)
    with pytest.raises(ValueError, match='10 classes with 4 of 10 subNNs.*blocks with 5, 3 of 10'):
        build(scheme_source=str(path))
    timm_coded.coding_scheme(9, 10, 3).save(path)
    with pytest.raises(ValueError, match='9 classes with 3 of 10'):
        build(scheme_source=str(path))
    timm_coded.coding_scheme(10, 10, 3).save(path)
    with pytest.raises(ValueError, match='second scheme file'):
        build(scheme_source=[path, path])
    with pytest.raises(ValueError, match="'optimum' is neither one of optimal, paper, search nor a scheme file"):
        build(scheme_source='optimum')


def test_checkpoint_for_the_hub_comes_back_by_local_dir(tmp_path):
    model = build(num_classes=7, scheme_source='search')
    for block in ('layer2.0', 'layer3.0'):
        model.codewords(block).copy_(model.codewords(block).roll(1, 0))  # a scheme that no source would give again
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    loaded = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    x = torch.randn(2, 3, 8, 8)
    assert loaded.num_classes == 7
    assert torch.equal(loaded.codewords('layer3.0'), model.codewords('layer3.0'))
    for actual, expected in zip(loaded.forward_energies(x)[1], model.forward_energies(x)[1]):
        assert torch.equal(actual, expected)
    assert torch.equal(loaded(x), model(x))
