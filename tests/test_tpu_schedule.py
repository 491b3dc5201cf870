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
for short, name in NAMES.items():
    PROGRAM = PROGRAM.replace(short, f'metadata={{op_name="{name}}}')
PROGRAM = PROGRAM.replace('#five', 'backend_config={"known_trip_count":{"n":"5"}}')
PROGRAM = re.sub(r'@(\d+)', lambda match: CYCLES % match[1], PROGRAM)


@pytest.fixture(scope='module')
def schedule():
    return Schedule(PROGRAM)


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


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match='no HLO module'):
        Schedule('hello\n')
