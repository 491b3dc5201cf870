"""When a run stops early or saves in mid-epoch: all its replicas come to the same answer at the same step."""
import time
from typing import Callable

from torch import Tensor

from .replicas import Replica

GO_ON, SAVE, STOP = range(3)  # the highest wish of all replicas is granted
VOTE_STEPS = 8  # between two votes; the outcome of one is read at the next, where nobody has to wait for it


class Stopped(Exception):
    """The run was asked to stop before its end; a checkpoint holds all that it had done."""


class StopOrSave:
    """Watches the clock and what the run is told from outside.

    Args:
        replica: one of those that have to agree.
        stop: gives the reason to stop, or '' while there is none.
        recovery_interval: steps of an epoch between two recovery checkpoints; 0 for none.
        recovery_minutes: minutes between two recovery checkpoints; 0 for none.
        deadline: `time.time()` by which the run must have stopped, if any.

    Attributes:
        reason: to stop, as far as this replica knows it.
    """

    def __init__(
            self,
            replica: Replica,
            stop: Callable[[], str] = lambda: '',
            recovery_interval: int = 0,
            recovery_minutes: float = 0.0,
            deadline: float | None = None,
    ):
        self.replica = replica
        self.stop = stop
        self.recovery_interval = recovery_interval
        self.recovery_seconds = 60 * recovery_minutes
        self.deadline = deadline
        self.reason = ''
        self.stopping = False  # agreed on by all
        self.steps = 0
        self.vote: int | Tensor = GO_ON
        self.compiles = replica.compiles()
        self.saved = self.stepped = time.time()
        self.step_seconds = self.save_seconds = 0.0  # of a long step and of the longest save

    def after_step(self, step: int | None = None) -> int:
        """GO_ON, SAVE or STOP; all replicas call it after each of their steps.

        Args:
            step: of the epoch, from 1; None where there is nothing to save.
        """
        now = time.time()
        compiles = self.replica.compiles()
        if compiles == self.compiles:  # or it does not tell how long the next steps take
            self.step_seconds = max(now - self.stepped, 0.9 * self.step_seconds)
        self.compiles, self.stepped = compiles, now
        wish = self.agree(self.wish(now))
        self.stopping = self.stopping or wish == STOP
        if self.stopping:
            self.reason = self.reason or 'another replica has to stop'
            return STOP
        if step is None:
            return GO_ON
        return SAVE if wish == SAVE or self.recovery_interval and step % self.recovery_interval == 0 else GO_ON

    def wish(self, now: float) -> int:
        self.reason = self.reason or self.stop()
        steps = 2 * VOTE_STEPS if self.replica.world > 1 else 1
        if self.deadline is not None and now + 2 * steps * self.step_seconds + 2 * self.save_seconds > self.deadline:
            self.reason = self.reason or 'its time of --max-hours is over'
        if self.reason:
            return STOP
        return SAVE if self.recovery_seconds and now - self.saved > self.recovery_seconds else GO_ON

    def agree(self, wish: int) -> int:
        if self.replica.world == 1:
            return wish
        self.steps += 1
        if self.steps % VOTE_STEPS:
            return GO_ON
        granted = int(self.vote)
        if wish == SAVE == granted:  # it is about to be fulfilled
            wish = GO_ON
        self.vote = self.replica.peers.vote(wish)
        return granted

    def has_saved(self) -> None:
        """Tells that a checkpoint has just been written."""
        now = time.time()
        self.save_seconds = max(self.save_seconds, now - self.stepped)
        self.saved = self.stepped = now
