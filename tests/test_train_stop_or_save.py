"""A run stops and saves when it should, and all its replicas at the same step."""
from types import SimpleNamespace

import pytest

from timm_coded.train import stop_or_save
from timm_coded.train.stop_or_save import GO_ON, SAVE, STOP, VOTE_STEPS, StopOrSave

ALONE = SimpleNamespace(world=1, compiles=lambda: (0, 0.0))


class Clock:
    """Stands in for the module `time`."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stop_or_save, 'time', clock)
    return clock


class Ballot:
    """Two replicas that take their steps in turn; an outcome can be read only when both have voted.

    Args:
        controls: keyword arguments of each one's `StopOrSave`.
    """

    def __init__(self, *controls: dict):
        self.votes = [[] for _ in controls]
        self.graphs = 0  # that were compiled
        self.controls = [StopOrSave(self.replica(rank, len(controls)), **control)
                         for rank, control in enumerate(controls)]

    def replica(self, rank, world):
        peers = SimpleNamespace(vote=self.voter(rank))
        return SimpleNamespace(world=world, peers=peers, compiles=lambda: (self.graphs, 60.0 * self.graphs))

    def voter(self, rank):
        def vote(code):
            self.votes[rank].append(code)
            return Outcome(self.votes, len(self.votes[rank]) - 1)
        return vote

    def after_step(self, step):
        """The answer, if all have the same."""
        answer, = {control.after_step(step) for control in self.controls}
        return answer


class Outcome:
    def __init__(self, votes, number):
        self.votes, self.number = votes, number

    def __int__(self):
        return max(votes[self.number] for votes in self.votes)  # an IndexError: read before the other has voted


def told_after(calls: int, reason: str = 'SIGTERM'):
    """A reason to stop from a number of calls on, for three calls."""
    count = iter(range(10_000))
    return lambda: reason if calls <= next(count) < calls + 3 else ''


def test_without_a_reason_the_run_goes_on():
    control = StopOrSave(ALONE)
    assert [control.after_step(step) for step in range(1, 50)] == [GO_ON] * 49 and control.reason == ''


def test_reason_stops_at_the_next_step_and_for_good():
    control = StopOrSave(ALONE, told_after(4), recovery_interval=3)
    assert [control.after_step(step) for step in (1, 2, 3, 4, 5, 6, 7, 8, 9)] == [
        GO_ON, GO_ON, SAVE, GO_ON, STOP, STOP, STOP, STOP, STOP]
    assert control.after_step() == STOP and control.reason == 'SIGTERM'


def test_recovery_by_steps_counts_those_of_the_epoch():
    control = StopOrSave(ALONE, recovery_interval=3)
    assert [step for step in range(1, 11) if control.after_step(step) == SAVE] == [3, 6, 9]
    assert control.after_step() == GO_ON, 'nothing to save there'
    assert control.after_step(3) == SAVE


def test_recovery_by_minutes_counts_from_the_last_checkpoint(clock):
    control = StopOrSave(ALONE, recovery_minutes=10)
    saves = []
    for minute in range(1, 60):
        clock.now += 60
        if control.after_step(minute) == SAVE:
            saves.append(minute)
            control.has_saved()
        if minute == 30:  # the end of an epoch
            control.has_saved()
    assert saves == [11, 22, 41, 52]


def test_save_that_had_no_place_is_made_up_for(clock):
    control = StopOrSave(ALONE, recovery_minutes=10)
    clock.now += 601
    assert [control.after_step(), control.after_step(), control.after_step(1)] == [GO_ON, GO_ON, SAVE]


def test_no_minutes_no_recovery(clock):
    control = StopOrSave(ALONE, recovery_minutes=0)
    clock.now += 1e9
    assert control.after_step(1) == GO_ON


@pytest.mark.parametrize('world', [1, 2])
@pytest.mark.parametrize('first', [10, 300])
def test_deadline_leaves_the_time_to_save_but_wastes_little(clock, world, first):
    """Steps of 10 s after one that compiles, saves of 30 s."""
    deadline = clock.now + 3600
    ballot = Ballot(*[dict(deadline=deadline)] * world)
    for control in ballot.controls:
        control.has_saved()
    clock.now += first
    ballot.graphs += first == 300
    step = 1
    while ballot.after_step(step) != STOP:
        step += 1
        clock.now += 10
        if step == 10:
            clock.now += 30
            for control in ballot.controls:
                control.has_saved()
    assert clock.now + 30 < deadline
    assert clock.now > deadline - 30 * 3 - 10 * (4 if world == 1 else 5 * VOTE_STEPS)
    assert all('--max-hours' in control.reason for control in ballot.controls)


@pytest.mark.parametrize('told', range(20))
def test_reason_told_to_one_replica_stops_all_at_the_same_step(told):
    ballot = Ballot({}, dict(stop=told_after(told)))
    answers = [ballot.after_step(step) for step in range(1, 60)]
    stopped = answers.index(STOP)
    assert told <= stopped < told + 2 * VOTE_STEPS
    assert set(answers[:stopped]) <= {GO_ON} and set(answers[stopped:]) == {STOP}, 'for good'
    assert [control.reason for control in ballot.controls] == ['another replica has to stop', 'SIGTERM']


def test_clocks_that_differ_save_once_and_at_the_same_step(clock):
    ballot = Ballot(dict(recovery_minutes=10), dict(recovery_minutes=11))
    saves = []
    for step in range(1, 200):
        clock.now += 20
        if ballot.after_step(step) == SAVE:
            saves.append(step)
            for control in ballot.controls:
                control.has_saved()
    intervals = [(later - sooner) * 20 for sooner, later in zip([0, *saves], saves)]
    assert len(saves) == 4 and min(intervals) > 600 and max(intervals) <= 600 + 20 * (2 * VOTE_STEPS + 1)


def test_stop_outranks_save(clock):
    ballot = Ballot(dict(recovery_minutes=1), dict(stop=lambda: 'SIGINT'))
    clock.now += 100
    answers = [ballot.after_step(step) for step in range(1, 2 * VOTE_STEPS + 1)]
    assert answers[-1] == STOP and SAVE not in answers


def test_recovery_by_steps_needs_no_vote():
    ballot = Ballot(dict(recovery_interval=5), dict(recovery_interval=5))
    assert [step for step in range(1, 13) if ballot.after_step(step) == SAVE] == [5, 10]
