"""The TPU's own compiler is asked what we mean to ask: small programs of which the answer is known."""
import re

import pytest

from timm_coded.tpu.chips import CHIPS, GIB
from timm_coded.tpu.compiler import compile_for
from timm_coded.tpu.estimate import describe
from timm_coded.tpu.own_process import in_own_process
from timm_coded.tpu.schedule import Schedule
from timm_coded.tpu.trace import Graph, Step
from timm_coded.train.errors import UserError

CONVOLUTION = '''HloModule convolution
ENTRY %main (p0.1: f32[8,16,12,12], p1.2: f32[32,16,3,3]) -> (f32[8,32,10,10]) {
  %p0.1 = f32[8,16,12,12]{3,2,1,0} parameter(0)
  %p1.2 = f32[32,16,3,3]{3,2,1,0} parameter(1)
  %c.3 = f32[8,32,10,10]{3,2,1,0} convolution(%p0.1, %p1.2), window={size=3x3}, dim_labels=bf01_oi01->bf01
  ROOT %t.4 = (f32[8,32,10,10]{3,2,1,0}) tuple(%c.3)
}
'''
TWELVE_GIB = '''HloModule twice
ENTRY %main (p0.1: f32[3,1024,1024,1024]) -> (f32[3,1024,1024,1024]) {
  %p0.1 = f32[3,1024,1024,1024]{3,2,1,0} parameter(0)
  %add.2 = f32[3,1024,1024,1024]{3,2,1,0} add(%p0.1, %p0.1)
  ROOT %t.3 = (f32[3,1024,1024,1024]{3,2,1,0}) tuple(%add.2)
}
'''
PRODUCT = '''HloModule product
ENTRY %main (a: bf16[8192,8192], b: bf16[8192,8192]) -> (bf16[8192,8192]) {
  %a = bf16[8192,8192]{1,0} parameter(0)
  %b = bf16[8192,8192]{1,0} parameter(1)
  %c = bf16[8192,8192]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %t = (bf16[8192,8192]{1,0}) tuple(%c)
}
'''
REDUCTION = '''HloModule reduction
%sum (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %add = f32[] add(%x, %y)
}
ENTRY %main (p0.1: f32[1024,256], p1.2: f32[300]) -> (f32[1024,256], f32[300]) {
  %p0.1 = f32[1024,256]{1,0} parameter(0)
  %p1.2 = f32[300]{0} parameter(1)
  %all = (f32[1024,256]{1,0}, f32[300]{0}) all-reduce(%p0.1, %p1.2), replica_groups={}, to_apply=%sum
  %first = f32[1024,256]{1,0} get-tuple-element(%all), index=0
  %second = f32[300]{0} get-tuple-element(%all), index=1
  ROOT %t = (f32[1024,256]{1,0}, f32[300]{0}) tuple(%first, %second)
}
'''
# TFLOP/s of a device in bfloat16, by the vendor; of v2 and v3 half a chip is one
PEAK = {'v2': 22.5, 'v3': 61.5, 'v4': 275, 'v5e': 197, 'v5p': 459, 'v6e': 918}


def compile_all():
    """Everything in one process, which takes less than a second for each."""
    def one(chip, hlo, donated=(), replicas=1):
        return compile_for(CHIPS[chip], replicas, Graph(hlo, donated, 0))
    return {
        'convolution': one('v5e', CONVOLUTION),
        'huge': one('v2', TWELVE_GIB),
        'fits': one('v5e', TWELVE_GIB, (0,)),
        'not donated': one('v5e', TWELVE_GIB),
        **{f'reduction {chip}': one(chip, REDUCTION, replicas=8) for chip in CHIPS},
        **{chip: one(chip, PRODUCT) for chip in CHIPS},
    }


@pytest.fixture(scope='module')
def compiled():
    return in_own_process(compile_all)


def test_flops_of_a_convolution(compiled):
    assert compiled['convolution'].flops == 2 * 8 * 32 * 10 * 10 * 16 * 3 * 3


def test_arguments_and_results_have_torch_xla_layouts(compiled):
    head = compiled['convolution'].schedule.split('\n', 1)[0]
    arguments, results = head[head.index('entry_computation_layout='):].split('->')
    found = re.findall(r'f32\[[\d,]+\]\{([\d,]+)', arguments)
    assert found[0].startswith('1,')  # of 8 16 12 12 the 16 channels
    assert found[1].startswith('0,1,')  # of 32 16 3 3
    assert re.findall(r'f32\[[\d,]+\]\{([\d,]+)', results)[0].startswith('1,')


def test_what_does_not_fit_is_refused_in_the_compilers_words(compiled):
    refused = compiled['huge']
    assert re.search(r'Used 12\.\d*G of 7\.\d*G hbm', refused.refusal)
    assert refused.schedule == ''


def test_what_may_be_overwritten_is_overwritten(compiled):
    assert compiled['fits'].refusal == ''
    assert 12 * GIB <= compiled['fits'].peak < 13 * GIB
    assert re.search(r'input_output_alias=\{ \{\d*\}: \(0,', compiled['fits'].schedule)
    assert compiled['not donated'].peak == 24 * GIB


def test_results_count_towards_what_fits(compiled):
    def fits(case):
        return describe(Step('m', 1, 1), Graph('', (), 0), CHIPS['v5e'], compiled[case]).fits
    assert fits('fits') and not fits('not donated')


@pytest.mark.parametrize('chip', CHIPS)
def test_estimated_time_of_a_large_product_is_near_the_vendors_peak(compiled, chip):
    cycles = Schedule(compiled[chip].schedule).cycles()
    rate = 2 * 8192 ** 3 / (cycles / CHIPS[chip].clock) / 1e12
    assert 0.6 * PEAK[chip] < rate < 1.02 * PEAK[chip]


@pytest.mark.parametrize('chip', CHIPS)
def test_eight_replicas_reduce_all_bytes_once(compiled, chip):
    schedule = Schedule(compiled[f'reduction {chip}'].schedule)
    assert sum(one.bytes for one in schedule.all_reduces()) == 4 * (1024 * 256 + 300)
    assert 'replica_count=8' in compiled[f'reduction {chip}'].schedule


def test_more_replicas_than_a_slice_has_are_refused():
    with pytest.raises(UserError, match='--replicas 257'):
        CHIPS['v5e'].smallest_slice(257)


def test_a_program_that_the_compiler_refuses_is_told():
    unknown = CONVOLUTION.replace('convolution(%p0.1, %p1.2), window={size=3x3}, dim_labels=bf01_oi01->bf01',
                                  'custom-call(%p0.1, %p1.2), custom_call_target="no_such_call"')
    with pytest.raises(UserError, match='v5e cannot compile this step'):
        in_own_process(compile_for, CHIPS['v5e'], 1, Graph(unknown, (), 0))
