"""What a TPU would make of a step, by its compiler: time, memory, and the instructions that cost most."""
import dataclasses
import hashlib
import importlib.metadata
import json
import re
from dataclasses import dataclass
from pathlib import Path

from .chips import Chip
from .compiler import Compiled, compile_for
from .own_process import in_own_process
from .schedule import Instruction, Schedule
from .trace import Graph, Step


@dataclass(frozen=True)
class Estimate:
    """The compiler's statements on a step, for one device.

    Attributes:
        step: what was compiled.
        chip: for what.
        fits: into the device's memory; if not, `refusal` says why and the rest is empty.
        seconds: estimated time of a step: the sum of the estimated cycles over the clock.
        flops, bytes_accessed: of a step.
        peak: bytes of the device's memory that are in use at once.
        compile_seconds: that it took here.
        parameters: of the model.
        all_reduce_bytes: that a replica gives to the reductions over all replicas.
        instructions: with an estimate, costliest first.
        uncounted: instructions without an estimate by opcode: the sum leaves them out.
        open_loops: loops whose number of turns is not known: the sum holds one turn.
    """
    step: Step
    chip: str
    fits: bool
    refusal: str = ''
    seconds: float = 0.
    flops: float = 0.
    bytes_accessed: float = 0.
    peak: int = 0
    compile_seconds: float = 0.
    parameters: int = 0
    all_reduce_bytes: int = 0
    instructions: tuple[Instruction, ...] = ()
    uncounted: dict[str, int] = dataclasses.field(default_factory=dict)
    open_loops: int = 0

    @property
    def images_per_second(self) -> float:
        return self.step.batch_size / self.seconds if self.seconds else 0.

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> 'Estimate':
        fields = json.loads(text)
        fields['step'] = Step(**fields['step'])
        fields['instructions'] = tuple(Instruction(**one) for one in fields['instructions'])
        return cls(**fields)


def trace_apart(step: Step) -> Graph:
    """Traces a step in a process of its own.

    Raises:
        UserError: there is no such model or form.
    """
    from .trace import trace
    return in_own_process(trace, step)


def estimate(step: Step, graph: Graph, chip: Chip, cache: Path | None = None) -> Estimate:
    """Compiles a step for a chip, in a process of its own; minutes.

    Args:
        graph: of the step.
        cache: folder where finished estimates are kept, and looked for first.
    """
    file = cache / f'{fingerprint(graph, chip, step.replicas)}.json' if cache else None
    if file and file.exists():
        return dataclasses.replace(Estimate.from_json(file.read_text()), step=step)
    result = describe(step, graph, chip, in_own_process(compile_for, chip, step.replicas, graph))
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix('.part')
        part.write_text(result.to_json())
        part.replace(file)
    return result


def describe(step: Step, graph: Graph, chip: Chip, compiled: Compiled) -> Estimate:
    refusal = compiled.refusal
    if compiled.peak > chip.hbm:  # results that overwrite nothing are not in what the compiler itself checks
        refusal = f'the peak of {compiled.peak / 2**30:.2f} GiB is more than the {chip.hbm / 2**30:g} GiB of the device'
    if refusal:
        return Estimate(step, chip.name, False, refusal, compile_seconds=compiled.seconds, parameters=graph.parameters)
    schedule = Schedule(compiled.schedule)
    counted = [one for one in schedule.instructions if one.cycles]
    return Estimate(
        step, chip.name, True,
        seconds=schedule.cycles() / chip.clock,
        flops=compiled.flops,
        bytes_accessed=compiled.bytes_accessed,
        peak=compiled.peak,
        compile_seconds=compiled.seconds,
        parameters=graph.parameters,
        all_reduce_bytes=sum(one.bytes for one in schedule.all_reduces()),
        instructions=tuple(sorted(counted, key=lambda one: -one.total)),
        uncounted=schedule.uncounted(),
        open_loops=schedule.open_loops)


def fingerprint(graph: Graph, chip: Chip, replicas: int) -> str:
    """The same for what the compiler makes the same of: where the source files lie does not matter."""
    hlo = re.sub(r' source_file="[^"]*" source_line=\d+', '', graph.hlo)
    versions = [importlib.metadata.version(package) for package in ('libtpu', 'jaxlib')]
    return hashlib.sha256(repr((hlo, graph.donated, chip, replicas, versions)).encode()).hexdigest()[:32]
