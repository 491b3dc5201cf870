"""The TPU's own compiler, of the libtpu package, ahead of time: it needs no TPU."""
import importlib.util
import io
import os
import time
from dataclasses import dataclass
from typing import Any, Container

from ..train.errors import UserError
from .chips import Chip
from .layout import minor_to_major
from .trace import Graph

# Before jax is imported: jax itself keeps to the CPU, and libtpu looks for no TPU, no metadata server, no log folder.
ENVIRONMENT = {
    'JAX_PLATFORMS': 'cpu',
    'TPU_SKIP_MDS_QUERY': '1',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'TPU_ACCELERATOR_TYPE': 'v5litepod-4',  # of the host; what is compiled for is named apart
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'TPU_LOG_DIR': 'disabled',
    'TPU_MIN_LOG_LEVEL': '3',
    'TPU_STDERR_LOG_LEVEL': '3',
    'TF_CPP_MIN_LOG_LEVEL': '3',
}


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of a graph.

    Attributes:
        seconds: how long it took.
        schedule: the instructions as they will run, HLO text; '' if it did not fit.
        flops, bytes_accessed: of one run of the program on one device.
        peak: bytes of memory that one device needs at once.
        refusal: why it does not fit into the memory, in the compiler's own words; else ''.
    """
    seconds: float
    schedule: str = ''
    flops: float = 0.
    bytes_accessed: float = 0.
    peak: int = 0
    refusal: str = ''


def check_installed() -> None:
    """Raises UserError if a package is missing that the estimates need."""
    for package in ('torch_xla', 'jax', 'libtpu'):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"needs {package}: pip install 'timm_coded[estimate]'")


def compile_for(chip: Chip, replicas: int, graph: Graph) -> Compiled:
    """Compiles a graph for so many devices of a chip, in this process, which must not have imported jax before.

    Arguments and results have the layouts in memory that torch_xla gives them on a TPU.

    Raises:
        UserError: the compiler fails, for another reason than memory.
    """
    os.environ.update(ENVIRONMENT)
    import numpy as np
    from jax.experimental.topologies import get_topology_desc
    from jaxlib import _jax

    _, layout = chip.smallest_slice(replicas)
    options = dict(chip.options)
    if layout == '1x1x1':
        options['chips_per_host_bounds'] = (1, 1, 1)
    topology = get_topology_desc(platform='tpu', topology_name=f'{chip.name}:{layout}', **options)
    devices: Any = topology.devices[:replicas]
    compile_options = _jax.CompileOptions()
    compile_options.num_replicas = compile_options.executable_build_options.num_replicas = replicas
    compile_options.num_partitions = compile_options.executable_build_options.num_partitions = 1
    compile_options.device_assignment = _jax.DeviceAssignment.create(np.array([[device.id] for device in devices]))
    program = to_mlir(graph)
    start = time.monotonic()
    try:
        executable = devices[0].client.compile(program, _jax.DeviceList(tuple(devices)), compile_options)
    except Exception as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise UserError(f'the compiler of {chip.name} cannot compile this step: {str(error)[:500]}') from error
        return Compiled(time.monotonic() - start, refusal=str(error))
    seconds = time.monotonic() - start
    cost = executable.cost_analysis()
    memory = executable.get_compiled_memory_stats()
    return Compiled(
        seconds, executable.hlo_modules()[0].to_string(), cost['flops'], cost['bytes accessed'],
        memory.peak_memory_in_bytes)


def to_mlir(graph: Graph) -> bytes:
    """The graph as the compiler takes it: with what the results may overwrite, and with torch_xla's layouts."""
    from jax.interpreters.mlir import make_ir_context
    from jaxlib import _jax
    from jaxlib.mlir import ir

    computation = _jax.XlaComputation(_jax.hlo_module_from_text(graph.hlo).as_serialized_hlo_module_proto())
    with make_ir_context():
        module = ir.Module.parse(_jax.mlir.xla_computation_to_mlir_module(computation))
        functions: Any = module.body.operations  # their annotation leaves out what functions have
        main, = (function for function in functions if function.name.value == 'main')

        def described(index: int, kind: ir.Type, donated: Container[int] = ()) -> ir.Attribute:
            order = ','.join(map(str, minor_to_major(ir.RankedTensorType(kind).shape)))
            attributes: dict[str, ir.Attribute] = {'mhlo.layout_mode': ir.StringAttr.get(f'{{{order}}}')}
            if index in donated:
                attributes['jax.buffer_donor'] = ir.BoolAttr.get(True)
            return ir.DictAttr.get(attributes)

        donated = set(graph.donated)
        main.arg_attrs = [described(index, kind, donated) for index, kind in enumerate(main.type.inputs)]
        main.result_attrs = ir.ArrayAttr.get([described(index, kind) for index, kind in enumerate(main.type.results)])
        code = io.BytesIO()
        module.operation.write_bytecode(code)
    return code.getvalue()
