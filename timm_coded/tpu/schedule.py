"""Reads a compiled program: its instructions, what the compiler thinks they cost, and which layer they are of."""
import re
from collections import Counter
from dataclasses import dataclass
from typing import Iterator

from .hlo import Line, parse
from .layers import BACKWARD

# They move no data, or only say where it is.
FREE = {'parameter', 'constant', 'get-tuple-element', 'tuple', 'bitcast', 'copy-done', 'slice-done', 'after-all',
        'all-reduce-done', 'partition-id', 'replica-id', 'while', 'call', 'conditional'}
# Where an instruction runs other computations' instructions one by one; in a fusion they cost what the fusion costs.
BODIES = {'while': ('body',), 'call': ('to_apply',), 'conditional': ('branch_computations', 'true_computation',
                                                                     'false_computation')}
BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's16': 2, 'u16': 2, 'f32': 4, 's32': 4, 'u32': 4, 'f64': 8,
         's64': 8, 'u64': 8}
ARRAY = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')


@dataclass(frozen=True)
class Instruction:
    """An instruction of a program.

    Attributes:
        opcode: HLO's; of a fusion with a convolution in it 'convolution'.
        shape: of its result.
        cycles: the compiler's estimate, None where it gives none.
        times: how often it runs in one run of the program.
        layer: the module that it is of; of a convolution with other work fused to it, the convolution's.
        backward: whether it is part of the gradients.
        operation: PyTorch's name of it.
    """
    name: str
    opcode: str
    shape: str
    cycles: int | None = None
    times: int = 1
    layer: str = ''
    backward: bool = False
    operation: str = ''

    @property
    def total(self) -> int:
        return (self.cycles or 0) * self.times

    @property
    def bytes(self) -> int:
        return sum(count_bytes(kind, sizes) for kind, sizes in ARRAY.findall(self.shape))


class Schedule:
    """The instructions of a program in the order in which they run.

    Attributes:
        instructions: all that run one by one, those of loops with the number of their turns.
        open_loops: loops whose turns the compiler does not tell; they are counted as one.
    """

    def __init__(self, text: str):
        """
        Args:
            text: of a compiled HLO module.

        Raises:
            ValueError: it is none.
        """
        self.computations, entry = parse(text)
        self.lines = {line.name: line for lines in self.computations.values() for line in lines}
        self.open_loops = 0
        self.instructions = list(self.run(entry, 1))

    def cycles(self) -> int:
        """The sum of the compiler's estimates."""
        return sum(instruction.total for instruction in self.instructions)

    def uncounted(self) -> dict[str, int]:
        """How many instructions have no estimate, by opcode, but for those that do nothing."""
        return dict(Counter(one.opcode for one in self.instructions if one.cycles is None).most_common())

    def all_reduces(self) -> list[Instruction]:
        """The reductions over all replicas."""
        return [one for one in self.instructions if one.opcode in ('all-reduce', 'all-reduce-start')]

    def run(self, computation: str, times: int) -> Iterator[Instruction]:
        for line in self.computations[computation]:
            if line.opcode in BODIES:
                turns = self.turns(line) if line.opcode == 'while' else 1
                for body in line.called(*BODIES[line.opcode]):
                    yield from self.run(body, times * turns)
            if line.opcode not in FREE:
                yield self.describe(line, times)

    def turns(self, line: Line) -> int:
        match = re.search(r'"known_trip_count":\{"n":"(\d+)"', line.text)
        self.open_loops += match is None
        return int(match[1]) if match else 1

    def describe(self, line: Line, times: int) -> Instruction:
        convolution = self.convolution(line)
        opcode = 'convolution' if convolution else line.opcode
        layer, backward, operation = origin(self.op_name(convolution or line))
        return Instruction(line.name, opcode, line.shape, line.cycles(), times, layer, backward, operation)

    def convolution(self, line: Line) -> Line | None:
        """The first convolution in a fusion, or what is one itself."""
        if line.opcode == 'convolution':
            return line
        for computation in line.called('calls'):
            for inner in self.computations[computation]:
                if found := self.convolution(inner):
                    return found
        return None

    def op_name(self, line: Line, steps: int = 8) -> str:
        """What the tracer wrote to an instruction; to one that the compiler made, what it wrote to its first operand.
        """
        match = re.search(r'op_name="([^"]*)"', line.text)
        if match:
            return match[1]
        operand = re.match(r'\(%([\w.\-]+)', line.text)
        if not operand or operand[1] not in self.lines or not steps:
            return ''
        return self.op_name(self.lines[operand[1]], steps - 1)


def origin(op_name: str) -> tuple[str, bool, str]:
    """Layer, whether backward, and operation of a name 'SCOPE.N/SCOPE.N/OPERATION' of the tracer's."""
    *scopes, operation = op_name.split('/')
    layers = [scope.rpartition('.')[0] for scope in scopes if '__' not in scope]
    layer = layers[-1] if layers else ''
    return layer.removesuffix(BACKWARD), layer.endswith(BACKWARD), operation


def count_bytes(kind: str, sizes: str) -> int:
    count = BYTES.get(kind, 0)
    for size in filter(None, sizes.split(',')):
        count *= int(size)
    return count
