"""A GPU to practice timing on, made of two clocks: the host's and that of the queue. Times are in microseconds.

It does what a real one does to whoever measures: launches return before the work is done, the first one compiles, data
that was just used comes faster, the chip slows down as it warms up, now and then somebody else gets in between. But it
always does the same, so that a timer can be right or wrong about it.
"""

from dataclasses import InitVar, dataclass, field

EMPTYING = 40.0                                  # the queue's time for writing over the whole cache


class NotFinished(RuntimeError):
    """An event was read before the host had waited for it."""


@dataclass
class Event:
    """A mark in the queue; `time` is when the GPU reached it, once the host has waited for that."""

    gpu: "PretendGPU" = field(repr=False)
    reached: float

    @property
    def time(self):
        if self.gpu.waited_until < self.reached:
            raise NotFinished("this event has not happened yet: gpu.synchronize() waits for it")
        return self.reached


@dataclass
class PretendGPU:
    """Args: kernel, how long each kernel runs with its data in main memory (several names or one); launch_time, how
    long a launch keeps the host; compiling, how much longer the first launch of a kernel does; saved, by how much less
    a kernel runs that finds its data in the cache; every, of how many calls one is disturbed and takes three times as
    long, from the second on (0: none); heat, by which fraction a kernel gets slower per millisecond of work done so
    far, up to a fifth.
    """

    kernel: InitVar[object]                      # not kept under this name: a timer is to measure it
    launch_time: float = 8.0
    compiling: float = 90_000.0
    saved: float = 0.0
    every: int = 0
    heat: float = 0.0
    host: float = field(default=0.0, repr=False, compare=False)             # what the host's clock says
    queue: float = field(default=0.0, repr=False, compare=False)            # when all that was queued is done
    waited_until: float = field(default=-1.0, repr=False, compare=False)
    worked: float = field(default=0.0, repr=False, compare=False)
    calls: int = field(default=0, repr=False, compare=False)
    compiled: set = field(default_factory=set, repr=False, compare=False)
    cached: object = field(default=None, repr=False, compare=False)         # the kernel whose data is in the cache

    def __post_init__(self, kernel):
        self._times = kernel if isinstance(kernel, dict) else {"kernel": kernel}

    def clock(self):
        """The host's clock, like time.perf_counter()."""
        return self.host

    def launch(self, name="kernel"):
        """Put one call of a kernel into the queue. The host goes on as soon as it is there."""
        if name not in self._times:
            raise KeyError(f"launch: there is no kernel {name!r}, only {', '.join(map(repr, self._times))}")
        self.host += self.launch_time + self.compiling * (name not in self.compiled)
        self.compiled.add(name)
        self.calls += 1
        work = self._times[name] - self.saved * (self.cached == name)
        work *= 1 + min(self.heat * self.worked / 1000, 0.2)
        work *= 3 if self.every and self.calls % self.every == 2 % self.every else 1
        self.cached = name
        self._queue(work)

    def empty_cache(self):
        """Queue a kernel that writes over the whole cache: the next one finds nothing there."""
        self.host += self.launch_time
        self.cached = None
        self._queue(EMPTYING)

    def event(self):
        """Put a mark into the queue, like torch.cuda.Event().record()."""
        self.host += 1.0
        self._queue(0)
        return Event(self, self.queue)

    def synchronize(self):
        """Let the host wait until the queue is empty."""
        self.host = max(self.host, self.queue)
        self.waited_until = self.host

    def _queue(self, work):
        self.queue = max(self.queue, self.host) + work                   # not before the host has put it there
        self.worked += work
