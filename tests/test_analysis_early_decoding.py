import numpy as np
import pytest
import timm
import torch
from coded_outputs import drawn_outputs, random_network

from timm_coded.analysis.exits.early_decoding import decode_early
from timm_coded.analysis.exits.early_exit import Agreement, Margin
from timm_coded.analysis.outputs import Outputs, collect_outputs


def rows_of(findings, name):
    return next(table for table in findings.tables if table.name == name).rows


def test_table_3_counts_each_sample_by_its_agreeing_decoders():
    # three decoders; energies are the codewords of the classes that they shall name
    words = np.eye(4, dtype=np.uint8)
    named = {'layer2.0': [0, 1, 2, 3, 0], 'layer2.1': [0, 0, 2, 1, 0], 'layer3.0': [0, 1, 2, 2, 1]}
    predictions, targets = [0, 1, 2, 0, 2], [0, 2, 2, 1, 2]
    outputs = Outputs(
        np.eye(4, dtype=np.float32)[predictions],
        {block: 4 * np.eye(4, dtype=np.float32)[classes] for block, classes in named.items()},
        np.array(targets), dict.fromkeys(named, words))
    findings = decode_early(outputs)
    assert [tuple(row.values()) for row in rows_of(findings, 'agreement')] == [
        (0, 2, 50.), (1, 0, None), (2, 1, 0.), (3, 2, 100.)]
    assert [row['accuracy'] for row in rows_of(findings, 'decoders')] == [40., 60., 40., 60.]
    assert [row['median margin'] for row in rows_of(findings, 'decoders')] == [1, 1, 1, None]


def test_simulated_curves_go_from_the_first_decoder_to_the_network():
    outputs, _ = drawn_outputs(samples=500)
    findings = decode_early(outputs)
    rows = rows_of(findings, 'exits_simulated')
    decoders = [row['accuracy'] for row in rows_of(findings, 'decoders')]
    margins = [row for row in rows if row['rule'] == 'margin']
    assert margins[0]['accuracy'] == decoders[0] and margins[0]['coded blocks'] == 1
    assert margins[-1]['accuracy'] == decoders[-1] and margins[-1]['coded blocks'] == 3
    assert margins[-1]['left early'] == 0 and margins[-2]['left early'] > 0
    assert [row['threshold'] for row in rows if row['rule'] == 'agreement'] == [1, 2, 3]
    blocks = [row['coded blocks'] for row in margins]
    assert blocks == sorted(blocks)
    table = next(table for table in findings.tables if table.name == 'exits_simulated')
    assert 'SIMULATED' in table.title and 'mean MACs' not in rows[0]


def test_model_adds_what_is_counted_and_measured(tmp_path, one_thread):
    model = random_network()
    images, targets = torch.randn(20, 3, 16, 16), torch.arange(20) % 10
    outputs = collect_outputs(model, [(images, targets)])
    findings = decode_early(
        outputs, model, (images, targets), [Margin(0.), Agreement(2), Agreement(3)], (4, 2), repeats=2, timed=4)
    rows = rows_of(findings, 'exits')
    assert [(row['batch size'], row['rule']) for row in rows] == [
        (size, rule) for size in (4, 2) for rule in ('whole network', 'margin 0', 'agreement 2')]  # 3 has no blocks
    assert rows[0]['MACs of the whole'] == rows[0]['time of the whole'] == 100
    assert rows[1]['MACs of the whole'] < 100 and rows[1]['left early'] == 100
    simulated = rows_of(findings, 'exits_simulated')
    assert rows[1]['mean MACs'] == simulated[0]['mean MACs'] and rows[1]['accuracy'] == simulated[0]['accuracy']
    names = {path.name for path in findings.write(tmp_path)}
    assert {'decode.json', 'decoders.csv', 'agreement.csv', 'exits_simulated.csv', 'exits.csv', 'agreement.png',
            'exits.png', 'exits_time.png'} == names
    assert [len(picture.figure.axes) for picture in findings.pictures] == [1, 1, 2]


def test_outputs_of_another_model_or_without_classes_are_refused():
    outputs, _ = drawn_outputs(samples=20)
    with pytest.raises(ValueError, match='of another model'):
        decode_early(outputs, random_network())
    with pytest.raises(ValueError, match='no coded blocks'):
        decode_early(outputs, timm.create_model('resnext11_10x11d', num_classes=10))
    outputs.targets[3] = -1
    with pytest.raises(ValueError, match='does not know'):
        decode_early(outputs)
