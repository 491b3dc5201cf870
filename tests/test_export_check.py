"""A file that gives other outputs than its network is found out, and nothing of it is left."""
import pytest
import torch
from cutting import random_model
from torch import nn

from timm_coded.export.check import check_outputs, draft_of, noise
from timm_coded.export.outputs import NamedOutputs


@pytest.fixture(scope='module')
def network():
    return NamedOutputs(random_model()).eval()


def check(network, change, batches=(1, 3)):
    def run(images):
        outputs = network(images)
        change(outputs)
        return outputs

    return check_outputs('net.pt2', network, run, [noise(network, batch, 8) for batch in batches])


def test_same_outputs_do_not_differ(network):
    assert check(network, lambda outputs: None) == 0.


def test_greatest_difference_of_all_outputs_and_batches_is_told(network):
    def change(outputs):
        outputs['logits'] = outputs['logits'] + (3e-5 if len(outputs['logits']) == 1 else 1e-5)
        outputs['energies.layer3.0'] = outputs['energies.layer3.0'] - 2e-5

    assert check(network, change) == pytest.approx(3e-5, rel=0.05)


@pytest.mark.parametrize('name, change', [
    ('logits', lambda value: value + 0.1),
    ('logits', lambda value: value * (1 if len(value) == 1 else 1.1)),
    ('logits', lambda value: value * float('nan')),
    ('energies.layer2.0', lambda value: value + 1e-3),
    ('decoder.layer3.0', lambda value: (value + 1) % 10),
    ('decoder.layer3.0', lambda value: (value + (torch.arange(len(value)) == 2).long()) % 10),
    ('decoder.layer3.0', lambda value: value - 10),
    ('decoder.layer2.0', lambda value: torch.full_like(value, 10)),
], ids=['shifted', 'of a batch', 'not a number', 'energies', 'another class', 'another class of one image', 'no class',
        'no class of these'])
def test_other_outputs_are_an_error_that_names_them(network, name, change):
    def changed(outputs):
        outputs[name] = change(outputs[name])

    with pytest.raises(ValueError, match=f'{name} of the exported file net.pt2 differs from the network.* was deleted'):
        check(network, changed)


@pytest.mark.parametrize('change', [
    lambda outputs: outputs.pop('decoder.layer3.0'),
    lambda outputs: outputs.update(logits=outputs['logits'][:, :1]),
], ids=['missing', 'of another shape'])
def test_outputs_of_another_shape_are_an_error(network, change):
    with pytest.raises(ValueError, match='puts out .* for a batch of 1, the network .* was deleted'):
        check(network, change)


def test_either_of_two_classes_that_are_as_good_is_right():
    model = random_model()
    for block in model.coded_blocks:
        model.codewords(block)[4] = model.codewords(block)[7]
        others = [k for k in range(10) if k not in (4, 7)]
        model.codewords(block)[others] = 0
    assert check(NamedOutputs(model), lambda outputs: [
        value.copy_(11 - value) for name, value in outputs.items() if name.startswith('decoder')]) == 0.


@pytest.mark.parametrize('largest, difference, right', [
    (0.01, 5e-5, True), (0.01, 2e-4, False), (100., 5e-3, True), (100., 2e-2, False)])
def test_one_value_may_differ_by_1e_4_or_by_that_part_of_a_largest_above_1(largest, difference, right):
    images, other = torch.zeros(2, 50), torch.zeros(2, 50)
    images[0, 7] = largest
    other[1, 9] = difference
    if right:
        assert check_outputs('net.pt2', nn.Identity(), lambda x: x + other, [images]) == pytest.approx(difference)
    else:
        with pytest.raises(ValueError, match='logits of the exported file net.pt2 differs'):
            check_outputs('net.pt2', nn.Identity(), lambda x: x + other, [images])


@pytest.mark.parametrize('difference, right', [(0.01, True), (1., False)])
def test_class_whose_score_is_the_best_but_for_rounding_is_right(difference, right):
    model = random_model()
    words = model.codewords('layer2.0')
    one, other = words[4].nonzero()[0], (~words[4].bool()).nonzero()[0]
    words[7] = words[4]
    words[7, one], words[7, other] = 0, 1
    energies = 100. * (words[4] | words[7])  # scores of 500
    energies[one] += difference
    model.forward_energies = lambda images: (images, [energies[None], torch.ones(1, 10)])
    network = NamedOutputs(model)

    def run(images):
        outputs = network(images)
        assert outputs['decoder.layer2.0'] == 4
        return outputs | {'decoder.layer2.0': torch.tensor([7])}

    if right:
        assert check_outputs('net.pt2', network, run, [torch.zeros(1, 10)]) == pytest.approx(difference, rel=1e-2)
    else:
        with pytest.raises(ValueError, match='decoder.layer2.0 of the exported file net.pt2 differs'):
            check_outputs('net.pt2', network, run, [torch.zeros(1, 10)])


@pytest.mark.parametrize('folder', [False, True], ids=['file', 'folder'])
def test_draft_becomes_the_file_only_when_all_went_well(tmp_path, folder):
    def write(path):
        (path.mkdir() or path / 'inner' if folder else path).write_text('new')

    path = tmp_path / 'net.pt2'
    with pytest.raises(ValueError), draft_of(path) as draft:
        write(draft)
        assert draft.suffix == '.pt2'
        raise ValueError
    assert not [*tmp_path.iterdir()]
    with draft_of(path) as draft:
        write(draft)
        assert not path.exists()
    assert [path.name for path in tmp_path.iterdir()] == ['net.pt2']


def test_file_that_was_there_stays_when_the_new_one_is_wrong(tmp_path):
    path = tmp_path / 'net.pt2'
    path.write_text('old')
    with pytest.raises(ValueError), draft_of(path) as draft:
        draft.write_text('new')
        raise ValueError
    assert path.read_text() == 'old' and len([*tmp_path.iterdir()]) == 1


def test_draft_of_an_export_that_was_killed_is_written_over(tmp_path):
    (tmp_path / '.part-net').mkdir()
    (tmp_path / '.part-net' / 'left').touch()
    with draft_of(tmp_path / 'net') as draft:
        assert not draft.exists()
        draft.write_text('new')
    assert [path.name for path in tmp_path.iterdir()] == ['net']


def test_noise_is_of_the_type_of_the_network():
    assert noise(random_model(dtype=torch.float64), 2, 8).dtype == torch.float64
