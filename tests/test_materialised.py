"""The paper's form, kept for comparisons of speed, is the same function as the model it was made of."""
import copy

import pytest
import timm
import torch
from materialised import materialised_network

import timm_coded
from timm_coded.models import materialise_subnns

IMAGES = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('training', [False, True])
def test_materialised_model_gives_the_logits_energies_and_gradients_of_the_model(training):
    torch.manual_seed(0)
    model = timm.create_model('coded_resnext11_10x11d', drop_subnn=0.).double().train(training)
    paper = materialise_subnns(copy.deepcopy(model))
    loss = timm_coded.CodingLoss(torch.nn.CrossEntropyLoss(), model)
    results = []
    for net in (model, paper):
        output = net.forward_energies(IMAGES.double())
        loss(output, torch.tensor([1, 2, 3])).backward()
        results.append([output[0], *output[1], *(parameter.grad for parameter in net.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_materialised_model_drops_the_subnns_of_the_masks():
    torch.manual_seed(0)
    paper = materialise_subnns(timm.create_model('coded_resnext11_10x11d', drop_subnn=0.5)).double().train()
    torch.manual_seed(1)
    drop = paper.draw_drop_masks(IMAGES.double())
    torch.manual_seed(1)
    logits, _ = paper.forward_energies(IMAGES.double())
    expected, _ = materialised_network(paper, IMAGES.double(), drop=drop)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-10)


def test_what_the_form_lacks_is_refused():
    with pytest.raises(ValueError, match='no coded blocks'):
        materialise_subnns(timm.create_model('resnet18'))
    with pytest.raises(ValueError, match='leave out the options'):
        materialise_subnns(timm.create_model('coded_resnext11_10x11d', energy_norm=False))
    with pytest.raises(ValueError, match='drop_per_block'):
        materialise_subnns(timm.create_model('coded_resnext11_10x11d', drop_per_block=True))
    paper = materialise_subnns(timm.create_model('coded_resnext11_10x11d'))
    with pytest.raises(ValueError, match='neither keep nor learn'):
        paper.forward_energies(IMAGES, keep={paper.coded_blocks[0]: torch.ones(10)})
