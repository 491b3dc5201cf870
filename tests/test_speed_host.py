"""`host_times` says what each phase of a step costs the host; the sums and pairs are those of the phases."""
import json
import os
import subprocess
import sys
import time

import pytest

from timm_coded.speed import host
from timm_coded.speed.host_clock import HostClock
from timm_coded.speed.host_findings import Measured, draw, pair_rows, phase_rows, spread
from timm_coded.train.errors import UserError

MEASURED = '''
import json, sys, torch
torch.set_num_threads(1)
from timm_coded.speed.host import host_times
found = host_times(['test_resnet'], num_classes=10, repeats=3)
print(json.dumps({'rows': {table.name: table.rows for table in found.tables}, 'notes': found.notes}))
'''


@pytest.fixture(scope='module')
def measured():
    done = subprocess.run([sys.executable, '-c', MEASURED], capture_output=True, text=True, timeout=560,
                          env=os.environ | {'PJRT_DEVICE': 'CPU'})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def made(traced, replayed=None) -> Measured:
    paths = {'traced': [{'forward': first, 'backward': second} for first, second in traced]}
    if replayed:
        paths['replayed'] = [{'replay, dispatch': value} for value in replayed]
    return {'net': paths}


def test_all_phases_of_both_paths_are_in_the_table_and_have_cost_something(measured):
    rows = measured['rows']['host']
    assert {(row['path'], row['phase']) for row in rows} == {
        *(('traced', phase) for phase in ('seed', 'forward', 'backward', 'metrics', 'optimizer',
                                          'hash, look-up, dispatch', 'whole step')),
        *(('replayed', phase) for phase in ('seed', 'replay, dispatch', 'whole step'))}
    assert all(0 < row['quartile1_ms'] <= row['median_ms'] <= row['quartile3_ms'] for row in rows)
    assert {row['steps'] for row in rows} == {3}


def test_a_replayed_step_traces_no_operator_and_a_traced_one_hundreds(measured):
    calls = {row['path']: row['operator_calls_of_third_step'] for row in measured['rows']['host-first']}
    assert calls['replayed'] == 0 and 300 < calls['traced'] < 3000


def test_each_path_compiles_one_graph_of_the_same_operations(measured):
    traced, replayed = measured['rows']['host-first']
    assert (traced['path'], replayed['path']) == ('traced', 'replayed')
    assert traced['graphs'] == replayed['graphs'] == 1
    assert 0 < traced['of_it_compiling_s'] < traced['first_step_s']
    assert traced['graph_nodes'] == pytest.approx(replayed['graph_nodes'], rel=0.02)


def test_notes_say_what_was_run(measured):
    assert measured['notes'][0].startswith('XLA:CPU, batches of 2 images of 32 px, bfloat16 autocast, 3 steps of each')


def test_median_and_quartiles_are_those_of_the_steps():
    assert spread([4, 1, 2, 3, 100]) == (3, 2, 4)
    rows = {row['phase']: row for row in phase_rows(made([(1, 10), (2, 30), (3, 20)]))}
    assert [rows[name]['median_ms'] for name in ('forward', 'backward', 'whole step')] == [2, 20, 23]
    assert (rows['whole step']['quartile1_ms'], rows['whole step']['quartile3_ms']) == (17, 27.5)


def test_ratios_are_taken_pair_by_pair():
    row, = pair_rows(made([(1, 9), (5, 15), (10, 30)], [5, 2, 8]))  # 0.5, 0.1, 0.2
    assert row['ratio'] == pytest.approx(0.2) and row['pairs'] == 3
    assert (row['quartile1'], row['quartile3']) == (pytest.approx(0.15), pytest.approx(0.35))


def test_model_without_replay_has_no_pairs():
    assert pair_rows(made([(1, 2)])) == []


def test_picture_names_its_bars_and_their_lengths():
    picture = draw(made([(1, 10), (2, 30), (3, 20)], [4, 5, 6]))
    assert picture.title.endswith('net traced 22.0 ms, net replayed 5.0 ms')
    axes, = picture.figure.axes
    assert [label.get_text() for label in axes.get_legend().get_texts()] == ['forward', 'backward', 'replay, dispatch']
    assert 'ms' in axes.get_xlabel()


def test_waiting_costs_the_host_nothing_and_working_does():
    clock = HostClock()
    time.sleep(0.05)
    clock.lap('waited')
    total, begun = 0, time.thread_time()
    while time.thread_time() < begun + 0.05:
        total += 1
    clock.lap('worked', threads=False)
    assert clock.laps['waited'] < clock.laps['worked'] and clock.laps['worked'] >= 50


def test_unknown_model_is_told_before_xla_is_opened(monkeypatch):
    monkeypatch.setattr(host.replicas, 'create', lambda device: pytest.fail('opened'))
    with pytest.raises(UserError, match='there is no --model resnext_nothing'):
        host.host_times(['resnext_nothing'])
