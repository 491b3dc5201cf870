import threading
import time

import pytest

from timm_coded.train.data import prefetch as prefetch_module
from timm_coded.train.data.prefetch import DEPTH, prefetch


def test_all_batches_arrive_in_order():
    assert list(prefetch(range(50), lambda batch: batch * 2)) == list(range(0, 100, 2))


@pytest.mark.parametrize('bad', ['loading', 'sending'])
def test_error_reaches_the_consumer_after_the_batches_before_it(bad):
    def load():
        yield from range(7)
        if bad == 'loading':
            raise OSError('broken image')
        yield 7

    def send(batch):
        if batch == 7:
            raise OSError('broken image')
        return batch

    received = []
    with pytest.raises(OSError, match='broken image'):
        for batch in prefetch(load(), send):
            received.append(batch)
    assert received == list(range(7))


def test_reads_ahead_but_only_so_far():
    read = []
    batches = prefetch((read.append(number) or number for number in range(100)), lambda batch: batch)
    next(batches)
    deadline = time.monotonic() + 10
    while len(read) < DEPTH + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert DEPTH + 1 <= len(read) <= DEPTH + 2
    batches.close()


def test_leaving_early_stops_the_thread():
    before = threading.active_count()
    for batch in prefetch(iter(range(1000)), lambda batch: batch):
        if batch == 3:
            break
    assert threading.active_count() == before


def test_thread_that_dies_without_a_word_is_an_error_at_once(monkeypatch):
    class Dying(threading.Thread):
        def run(self):
            self._target = None

    monkeypatch.setattr(prefetch_module.threading, 'Thread', Dying)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match='the thread that loads ahead ended'):
        list(prefetch(range(3), lambda batch: batch))
    assert time.monotonic() - started < 5
