"""Accuracy with subNNs removed is that of the masked network, sample by sample; the active ones help, once trained."""
import csv

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from random_network import batches_of, random_network

from timm_coded.analysis import staged
from timm_coded.analysis.removal import ablate as removal
from timm_coded.analysis.removal.ablate import ablate, draw_ranks
from timm_coded.cli import main

pytestmark = pytest.mark.usefixtures('one_thread')
IMAGES = torch.randn(30, 3, 8, 8, generator=torch.Generator().manual_seed(1))
ALL = {'layer2.0': (5, 5), 'layer3.0': (3, 7)}  # of 10 subNNs: active, inactive


@pytest.fixture(scope='module')
def model():
    """Random weights name few classes: its classes are what it says, but for every third sample."""
    return random_network()


@pytest.fixture(scope='module')
def targets(model):
    named = model(IMAGES).argmax(1)
    named[::3] = (named[::3] + torch.arange(10)) % 10
    return named


def rows_of(findings):
    return {(row['block'], row['removed'], row['k']): row for row in findings.tables[0].rows}


def measured(model, targets, keep):
    logits, _ = model.forward_energies(IMAGES, keep)
    return [100 * (logits.argmax(1) == targets).double().mean().item(), F.cross_entropy(logits, targets).item()]


def test_none_and_all_removed_are_the_masked_network(model, targets):
    rows = rows_of(ablate(model, batches_of(IMAGES, targets, 8), draws=2))
    active = model.class_masks(targets)
    for block, most in ALL.items():
        for kind, count, keep in (('active', most[0], 1 - active[block]), ('inactive', most[1], active[block])):
            for k, mask in ((0, torch.ones(10)), (count, keep)):
                row = rows[block, kind, k]
                assert [row['accuracy'], row['cross-entropy']] == pytest.approx(
                    measured(model, targets, {block: mask}), abs=1e-4)
                assert row['draws'] == 1 and row['accuracy std'] is None and row['samples'] == 30
            assert (block, kind, count + 1) not in rows and rows[block, kind, 1]['of'] == count


def test_k_removed_are_the_first_k_of_each_draws_order(model, targets, monkeypatch):
    """Sample by sample, with orders that are known: draw 0 removes from subNN 0 on, draw 1 from the last one back."""
    def known(words, draws, stream):
        place = torch.stack([torch.arange(10), torch.arange(10).flip(0)]).expand(len(words), 2, 10)
        other = {'active': 1 - words, 'inactive': words}
        return {kind: (place + 100 * other[kind][:, None]).argsort(-1).argsort(-1) for kind in other}

    monkeypatch.setattr(removal, 'draw_ranks', known)
    rows = rows_of(ablate(model, batches_of(IMAGES, targets, 8), ['layer3.0'], draws=2))
    for kind, value, k in (('active', 1, 2), ('inactive', 0, 1), ('inactive', 0, 4), ('inactive', 0, 6)):
        drawn = []
        for reverse in (False, True):
            mask = torch.ones(30, 10)
            for sample, target in enumerate(targets):
                word = model.codewords('layer3.0')[target].tolist()
                candidates = sorted((n for n in range(10) if word[n] == value), reverse=reverse)
                mask[sample, candidates[:k]] = 0
            drawn.append(torch.tensor(measured(model, targets, {'layer3.0': mask})))
        mean, std = torch.stack(drawn).mean(0), torch.stack(drawn).std(0)
        row = rows['layer3.0', kind, k]
        assert [row['accuracy'], row['cross-entropy']] == pytest.approx(mean.tolist(), abs=1e-4)
        assert [row['accuracy std'], row['cross-entropy std']] == pytest.approx(std.tolist(), abs=1e-4)
        assert row['draws'] == 2


def test_orders_are_random_and_those_of_active_subnns_hold_no_other():
    words = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 1, 0, 0, 1]], dtype=torch.uint8).repeat(2000, 1)
    ranks = draw_ranks(words, 2, np.random.default_rng(0))
    for kind, own, count in (('active', words == 1, 3), ('inactive', words == 0, 2)):
        assert ranks[kind].sort(-1).values.equal(torch.arange(5).expand(6000, 2, 5))
        assert ((ranks[kind] < count) == own[:, None]).all()
        for draw in (0, 1):
            for n in range(5):
                first = (ranks[kind][:, draw, n][own[:, n]] == 0).double().mean()
                assert first == pytest.approx(1 / count, abs=.03)
        assert 0 < (ranks[kind][:, 0] == ranks[kind][:, 1]).all(-1).double().mean() < .6


def test_results_do_not_depend_on_batches_stacking_or_other_blocks(model, targets, monkeypatch):
    expected = rows_of(ablate(model, batches_of(IMAGES, targets, 30), draws=3))
    found = rows_of(ablate(model, batches_of(IMAGES, targets, 7), draws=3))
    monkeypatch.setattr(staged, 'STACKED', 25)
    found_alone = rows_of(ablate(model, batches_of(IMAGES, targets, 7), ['layer3.0'], draws=3))
    other_seed = rows_of(ablate(model, batches_of(IMAGES, targets, 30), draws=3, seed=1))
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, abs=1e-4)
        assert key[0] == 'layer2.0' or found_alone[key] == pytest.approx(row, abs=1e-4)
    assert {key for key, row in expected.items() if other_seed[key] != pytest.approx(row, abs=1e-6)}
    assert expected['layer2.0', 'active', 2]['cross-entropy std'] > 0


def test_training_makes_active_subnns_help_and_inactive_ones_disturb(digits_checkpoint, tmp_path, capsys):
    assert main(['ablate', str(digits_checkpoint), '--draws', '2', '--output', str(tmp_path)]) == 0
    with open(tmp_path / 'removal.csv', newline='') as file:
        table = [{key: float(value) if key in ('accuracy', 'cross-entropy') else value for key, value in row.items()}
                 for row in csv.DictReader(file)]
    rows = {(row['block'], row['removed'], int(row['k'])): row for row in table}
    for block, (active, inactive) in ALL.items():
        whole, without_active, without_inactive = (
            rows[block, kind, k] for kind, k in (('active', 0), ('active', active), ('inactive', inactive)))
        assert without_active['accuracy'] <= without_inactive['accuracy']
        assert without_active['cross-entropy'] > whole['cross-entropy'] + 1e-3
        assert without_inactive['cross-entropy'] < whole['cross-entropy'] - 1e-3
    assert (tmp_path / 'removal.png').stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert 'layer2.0  inactive' in printed and 'on 389 samples' in printed


def test_wrong_input_is_an_error(model, targets, digits_checkpoint, tmp_path, capsys):
    batches = batches_of(IMAGES, targets, 30)
    for match, call in {
        "'layer1.0' is not a coded block; the coded blocks are layer2.0, layer3.0": dict(blocks=['layer1.0']),
        'no block is named': dict(blocks=[]),
        'draws is 0': dict(draws=0),
        'no samples': dict(batches=[]),
        'a target is 10, the model has 10 classes': dict(batches=[(IMAGES, targets + 10 - targets.max())]),
        'no coded blocks': dict(model=random_network('resnext11_10x11d')),
    }.items():
        with pytest.raises(ValueError, match=match):
            ablate(**{'model': model, 'batches': batches, **call})
    assert main(['ablate', str(digits_checkpoint), '--blocks', 'layer9.0', '--output', str(tmp_path / 'new')]) == 2
    err = capsys.readouterr().err
    assert "'layer9.0' is not a coded block" in err and len(err.splitlines()) == 1
    assert not (tmp_path / 'new').exists()
