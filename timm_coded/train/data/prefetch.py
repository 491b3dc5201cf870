"""Batches sent to the device ahead of their use; an error on the way is raised where the batches are used."""
import queue
import threading
from typing import Any, Callable, Iterable, Iterator

DEPTH = 4  # batches on the device ahead of the one in use


def prefetch(batches: Iterable[Any], send: Callable[[Any], Any]) -> Iterator[Any]:
    """Yields `send(batch)` for each batch, read and sent by a thread of its own.

    Every batch arrives, in order, or the error that `batches` or `send` raised does: an epoch never ends early in
    silence. Leaving the loop early stops the thread.

    Raises:
        RuntimeError: the thread is gone without a word.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(DEPTH)
    stop = threading.Event()

    def put(kind: str, item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put((kind, item), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                put('batch', send(batch))
                if stop.is_set():
                    return
            put('end', None)
        except BaseException as error:  # whatever it is, the consumer must see it and not wait for ever
            if not isinstance(error, Exception):  # SystemExit would end the run as if all were well
                error = RuntimeError(f'the thread that loads ahead was ended by {type(error).__name__}')
            put('error', error)

    thread = threading.Thread(target=work, name='prefetch', daemon=True)
    thread.start()
    try:
        while True:
            kind, item = take(ready, thread)
            if kind == 'end':
                return
            if kind == 'error':
                try:
                    raise item
                finally:
                    del item  # or the error, its traceback and this frame would hold each other
            yield item
    finally:
        stop.set()
        thread.join()


def take(ready: queue.Queue[tuple[str, Any]], thread: threading.Thread) -> tuple[str, Any]:
    """The next of `ready`, which `thread` fills."""
    while True:
        alive = thread.is_alive()  # before the wait: what it put last may still come
        try:
            return ready.get(timeout=1)
        except queue.Empty:
            if not alive:
                raise RuntimeError('the thread that loads ahead ended without its last batch') from None
