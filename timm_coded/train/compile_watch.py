"""Tells what compiling costs at the start, and warns of what XLA compiles later or cannot run at all."""
from collections import Counter
from typing import Callable

from .replicas import Replica

FIRST_STEPS = 2  # of a phase: an optimizer may make its state in its first step, and so has two graphs


class CompileWatch:
    """Looks after every step at what was compiled in it, and at which operators ran on the host.

    Args:
        replica: what compiles.
        say: writes a line.
    """

    def __init__(self, replica: Replica, say: Callable[[str], None]):
        self.replica = replica
        self.say = say
        self.steps: Counter[str] = Counter()  # of each phase
        self.compiles = replica.compiles()
        self.fallbacks = {'aten::_local_scalar_dense'}  # reading a number is meant to come to the host

    def after_step(self, phase: str, where: str, seconds: float) -> bool:
        """Looks after a step; returns whether it was one that says how fast steps are: neither compiled nor the first.

        Args:
            phase: 'training' or 'evaluation': each has its graph.
            where: the step's place in the run.
            seconds: what the step took.
        """
        self.steps[phase] += 1
        before, self.compiles = self.compiles, self.replica.compiles()
        count, compiling = self.compiles[0] - before[0], self.compiles[1] - before[1]
        if count and self.steps[phase] > FIRST_STEPS:
            self.say(f'WARNING: {where} compiled {graphs(count)} anew in {compiling:.1f} s: a shape or a constant of '
                     f'the {phase} step has changed')
        elif count:
            self.say(f'{where} took {seconds:.1f} s, {compiling:.1f} s of them to compile {graphs(count)}')
        elif self.steps[phase] == 1:
            self.say(f'{where} took {seconds:.1f} s')
        for operator in sorted(set(self.replica.fallbacks()) - self.fallbacks):
            self.fallbacks.add(operator)
            self.say(f'WARNING: {where} ran {operator} on the host, as XLA has no such operator: the device waits')
        return not count and self.steps[phase] > 1

    def overlook(self) -> None:
        """Takes what was compiled since the last step as none of a step's business: a checkpoint's, say."""
        self.compiles = self.replica.compiles()


def graphs(count: int) -> str:
    return f'{count} graph{"s" if count > 1 else ""}'
