"""A compiled program is read as it is written: every instruction once, loops as often as they turn."""
import re

import pytest

from timm_coded.tpu.schedule import Schedule

CYCLES = 'backend_config={"window_config":{"kernel_window_bounds":[],"estimated_cycles":"%s"},"flag_configs":[]}'
NAMES = {
    '#conv': 'layer1.7/layer1.0.1/layer1.0.conv2.3/aten__convolution_overrideable" source_file="x.py" source_line=1',
    '#norm': 'layer1.7/layer1.0.1/layer1.0.bn2.4/aten__native_batch_norm"',
    '#pool': 'maxpool_backward.9/aten__max_pool2d_with_indices_backward"',
}
# @N stands for an estimate of N cycles, #NAME for what the tracer writes
PROGRAM = '''HloModule IrToHlo.1, is_scheduled=true, input_output_alias={ {0}: (0, {}, may-alias) }

%fused_computation (param_0.1: f32[8,4], param_1.2: f32[4,4]) -> (f32[8,4], bf16[8]) {
  %param_0.1 = f32[8,4]{1,0:T(8,128)S(1)} parameter(0)
  %param_1.2 = f32[4,4]{1,0:T(4,128)} parameter(1)
  %convolution.3 = f32[8,4]{1,0} convolution(%param_0.1, %param_1.2), dim_labels=bf_io->bf, #conv
  ROOT %tuple.4 = (f32[8,4]{1,0}, bf16[8]{0}) tuple(%convolution.3, %convolution.3)
}

%region_0.5 (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body.6 (state: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %state = (s32[]{:T(128)}, f32[8,4]{1,0}) parameter(0)
  %item = f32[8,4]{1,0} get-tuple-element(%state), index=1
  %inner.1 = f32[8,4]{1,0} negate(%item), @10
  ROOT %out = (s32[]{:T(128)}, f32[8,4]{1,0}) tuple(%state, %inner.1)
}

%condition.7 (state.1: (s32[], f32[8,4])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, f32[8,4]{1,0}) parameter(0)
  ROOT %never = pred[] constant(false)
}

ENTRY %main.9 (Arg_0.1: f32[8,4], Arg_1.2: f32[4,4]) -> (f32[8,4], f32[8,4]) {
  %Arg_0.1 = f32[8,4]{1,0:T(8,128)} parameter(0), metadata={op_name="p0.1"}
  %Arg_1.2 = f32[4,4]{1,0} parameter(1)
  %fusion.1 = (f32[8,4]{1,0:T(8,128)S(1)}, /*index=1*/bf16[8]{0}) fusion(%Arg_0.1), calls=%fused_computation,#norm,@1000
  %item.2 = f32[8,4]{1,0} get-tuple-element(%fusion.1), index=0
  %copy.3 = f32[8,4]{0,1} copy(%item.2), @200
  %scatter = f32[8,4]{1,0} select-and-scatter(%copy.3), select=%region_0.5, scatter=%region_0.5, #pool
  %all-reduce.4 = (f32[4,4]{1,0}, f32[8]{0}, bf16[]{:T(512)}) all-reduce(%Arg_1.2), to_apply=%region_0.5
  %start = (s32[]{:T(128)}, f32[8,4]{1,0}) tuple(%Arg_1.2, %copy.3)
  %while.5 = (s32[]{:T(128)}, f32[8,4]{1,0}) while(%start), condition=%condition.7, body=%body.6, #five
  %while.6 = (s32[]{:T(128)}, f32[8,4]{1,0}) while(%while.5), condition=%condition.7, body=%body.6
  ROOT %out.8 = (f32[8,4]{1,0}, f32[8,4]{1,0}) tuple(%copy.3, %scatter)
}
'''
# each body has an estimate of its own power of ten, so that the digits of the sum are how often each runs
RARE = '''HloModule rare, is_scheduled=true

%called (x.1: f32[4]) -> f32[4] {
  %x.1 = f32[4]{0} parameter(0)
  ROOT %n.1 = f32[4]{0} negate(%x.1), @1
}

%branch.2 (x.2: f32[4]) -> f32[4] {
  %x.2 = f32[4]{0} parameter(0)
  ROOT %n.2 = f32[4]{0} negate(%x.2), @10
}

%branch.3 (x.3: f32[4]) -> f32[4] {
  %x.3 = f32[4]{0} parameter(0)
  ROOT %n.3 = f32[4]{0} negate(%x.3), @100
}

%yes.4 (x.4: f32[4]) -> f32[4] {
  %x.4 = f32[4]{0} parameter(0)
  ROOT %n.4 = f32[4]{0} negate(%x.4), @1000
}

%no.5 (x.5: f32[4]) -> f32[4] {
  %x.5 = f32[4]{0} parameter(0)
  ROOT %n.5 = f32[4]{0} negate(%x.5), @10000
}

%inner.6 (x.6: f32[4]) -> f32[4] {
  %x.6 = f32[4]{0} parameter(0)
  ROOT %n.6 = f32[4]{0} negate(%x.6), @100000
}

%outer.7 (x.7: f32[4]) -> f32[4] {
  %x.7 = f32[4]{0} parameter(0)
  ROOT %w.7 = f32[4]{0} while(%x.7), condition=%never.8, body=%inner.6, #three
}

%never.8 (x.8: f32[4]) -> pred[] {
  %x.8 = f32[4]{0} parameter(0)
  ROOT %false.8 = pred[] constant(false)
}

%fused.9 (x.9: f32[8,4], y.9: f32[4,4]) -> f32[8,4] {
  %x.9 = f32[8,4]{1,0} parameter(0)
  %y.9 = f32[4,4]{1,0} parameter(1)
  ROOT %c.9 = f32[8,4]{1,0} convolution(%x.9, %y.9), dim_labels=bf_io->bf, #conv
}

%fused.10 (x.10: f32[8,4], y.10: f32[4,4]) -> f32[8,4] {
  %x.10 = f32[8,4]{1,0} parameter(0)
  %y.10 = f32[4,4]{1,0} parameter(1)
  ROOT %f.10 = f32[8,4]{1,0} fusion(%x.10, %y.10), kind=kOutput, calls=%fused.9
}

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %s = f32[] add(%a, %b)
}

ENTRY %main (p: f32[4], q: f32[8,4], r: f32[4,4], i: s32[], t: pred[]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %q = f32[8,4]{1,0} parameter(1)
  %r = f32[4,4]{1,0} parameter(2)
  %i = s32[] parameter(3)
  %t = pred[] parameter(4)
  %token = token[] after-all()
  %me = u32[] replica-id()
  %part = u32[] partition-id()
  %copy-start = (f32[4]{0:S(1)}, f32[4]{0}, u32[]{:S(2)}) copy-start(%p), @0
  %call = f32[4]{0} call(%p), to_apply=%called
  %copy-done = f32[4]{0:S(1)} copy-done(%copy-start)
  %slice-done = f32[4]{0:S(1)} slice-done(%copy-start)
  %indexed = f32[4]{0} conditional(%i, %p, %p), branch_computations={%branch.2, %branch.3}
  %either = f32[4]{0} conditional(%t, %p, %p), true_computation=%yes.4, false_computation=%no.5
  %loop = f32[4]{0} while(%p), condition=%never.8, body=%outer.7, #two
  %open.1 = f32[4]{0} while(%p), condition=%never.8, body=%called
  %open.2 = f32[4]{0} while(%open.1), condition=%never.8, body=%called
  %fusion = f32[8,4]{1,0} fusion(%q, %r), kind=kOutput, calls=%fused.10
  %rest = f32[4]{0} remainder(%p, %p), #rest
  %plain = f32[4]{0} add(%p, %p), #plain
  %reduce-start = (f32[4]{0}, token[]) all-reduce-start(%p), to_apply=%sum
  ROOT %reduce-done = f32[4]{0} all-reduce-done(%reduce-start)
}
'''
NAMES |= {'#rest': 'layer1.5/layer1.0.2/aten__remainder.1/aten__abs"', '#plain': 'aten__add"'}


def written(program: str) -> str:
    for short, name in NAMES.items():
        program = program.replace(short, f'metadata={{op_name="{name}}}')
    for short, turns in (('#two', 2), ('#three', 3), ('#five', 5)):
        program = program.replace(short, f'backend_config={{"known_trip_count":{{"n":"{turns}"}}}}')
    return re.sub(r'@(\d+)', lambda match: CYCLES % match[1], program)


@pytest.fixture(scope='module')
def schedule():
    return Schedule(written(PROGRAM))


@pytest.fixture(scope='module')
def rare():
    return Schedule(written(RARE))


def test_cycles_are_summed_with_the_turns_of_loops(schedule):
    assert schedule.cycles() == 1000 + 200 + 5 * 10 + 1 * 10


def test_a_loop_whose_turns_are_not_told_is_reported(schedule):
    assert schedule.open_loops == 1


def test_what_has_no_estimate_is_reported_and_what_costs_nothing_is_not(schedule):
    assert schedule.uncounted() == {'select-and-scatter': 1, 'all-reduce': 1}


def test_layers_and_passes_are_those_that_the_tracer_wrote(schedule):
    found = {one.name: (one.opcode, one.layer, one.backward, one.operation) for one in schedule.instructions}
    # the convolution, not the normalisation that is fused to it, is what costs
    assert found['fusion.1'] == ('convolution', 'layer1.0.conv2', False, 'aten__convolution_overrideable')
    assert found['scatter'] == ('select-and-scatter', 'maxpool', True, 'aten__max_pool2d_with_indices_backward')
    assert found['copy.3'][1:] == ('layer1.0.bn2', False, 'aten__native_batch_norm')  # of what it copies


def test_bytes_of_an_all_reduce_are_those_of_its_arrays(schedule):
    reduction, = schedule.all_reduces()
    assert reduction.bytes == 4 * 16 + 4 * 8 + 2


def test_what_is_called_chosen_and_turned_in_a_turn_counts(rare):
    # `called` runs by the call and by each loop of unknown turns; all branches count, as any may run
    assert rare.cycles() == 3 * 1 + 10 + 100 + 1000 + 10000 + 2 * 3 * 100000
    assert rare.open_loops == 2


def test_halves_of_what_runs_beside_others_count_once(rare):
    assert rare.uncounted() == {'convolution': 1, 'remainder': 1, 'add': 1, 'all-reduce-start': 1}
    reduction, = rare.all_reduces()
    assert reduction.bytes == 4 * 4  # a token is none


def test_a_convolution_in_a_fusion_of_a_fusion_and_an_operation_of_several_are_named(rare):
    found = {one.name: (one.opcode, one.layer, one.backward, one.operation) for one in rare.instructions}
    assert found['fusion'] == ('convolution', 'layer1.0.conv2', False, 'aten__convolution_overrideable')
    assert found['rest'] == ('remainder', 'layer1.0', False, 'aten__abs')
    assert found['plain'] == ('add', '', False, 'aten__add')


def test_the_program_is_found_wherever_it_stands(rare):
    head, program = written(RARE).split('\nENTRY')
    title, bodies = head.split('\n', 1)
    assert Schedule(f'{title}\n\nENTRY{program}\n{bodies}').instructions == rare.instructions


@pytest.mark.parametrize('text, said', [
    ('hello\n', 'no HLO module'),
    ('ENTRY %main () -> f32[] {\n  %a = (f32[4]{0}, f32[\n}\n', r'parenthesis is not closed: \(f32\[4'),
])
def test_a_text_that_is_no_program_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        Schedule(text)
