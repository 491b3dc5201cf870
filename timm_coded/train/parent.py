"""No process outlives the one that it works for."""
import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Ends this process, with status 1, as soon as the one that started it is gone, however that ended."""
    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, name='end_with_parent', daemon=True).start()
