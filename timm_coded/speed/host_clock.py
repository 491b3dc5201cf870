"""CPU time of the phases of a step."""
import time

Laps = dict[str, float]  # of one step: phase -> CPU milliseconds


class HostClock:
    """CPU milliseconds of one step's phases: on a busy machine they say more than the time of day.

    Tracing is all that runs while the device is idle, and autograd has threads of its own: it is timed by the
    process's clock. What hands work to the device is timed by its own thread's, as the device, where it is the host's
    processor, begins at once.
    """

    def __init__(self) -> None:
        self.laps: Laps = {}
        self.start()

    def start(self) -> None:
        self.process, self.thread = time.process_time(), time.thread_time()

    def lap(self, phase: str, threads: bool = True) -> None:
        """Ends a phase, counting all threads' time or this one's."""
        seconds = time.process_time() - self.process if threads else time.thread_time() - self.thread
        self.laps[phase] = 1e3 * seconds
        self.start()
