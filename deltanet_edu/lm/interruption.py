"""A run that is asked to end (SIGTERM, by a cluster that needs the machine) ends its step, and is saved first."""

import signal
import threading


class Terminated(SystemExit):
    """Raised when all is saved. Nobody needs to catch it: the process ends as one that SIGTERM has ended."""

    def __init__(self):
        super().__init__(128 + signal.SIGTERM)


class Interruption:
    """While it lasts, SIGTERM is noted (`asked`) instead of obeyed."""

    def __init__(self):
        self.asked = False

    def __enter__(self):
        self.here = threading.current_thread() is threading.main_thread()        # elsewhere Python refuses
        if self.here:
            self.before = signal.signal(signal.SIGTERM, self.note)
        return self

    def note(self, number, frame):
        self.asked = True

    def __exit__(self, *error):
        if self.here:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if self.before is None else self.before)
