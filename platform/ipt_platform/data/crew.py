"""Processes that make batches beside a training worker, as the worker sees them.

Processes, because the many short operations of a pair hold the interpreter's lock for most of their time; started by hand,
because `multiprocessing` would import the main module of whoever trains (Ray's worker, the command line) into each of them.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import weakref
from collections import deque
from multiprocessing import Pipe

from ipt_platform.data.batch import Batch
from ipt_platform.data.batch_process import DONE, ORDER
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.data.slot import Slot
from ipt_platform.data.told import retell
from ipt_platform.errors import InfrastructureError

_PROGRAM = "from ipt_platform.data.batch_process import main; main()"

LENT = 2
"""Slots that may be in use beside the batches ahead: the batch at work, and the next while it is being fetched."""


class Crew:
    """Makes batches in processes of its own; they end with it, and also when this process is killed.

    Args:
        maker: what makes a batch; a copy goes to each process.
        processes: how many.
        ahead: most batches that are ordered and not yet taken.
    """

    def __init__(self, maker: BatchMaker, processes: int, ahead: int):
        self._done: dict[int, tuple[int, int, int]] = {}
        self._selector = selectors.DefaultSelector()
        self._processes: list[subprocess.Popen] = []
        self._slots = [Slot() for _ in range(ahead + LENT)]
        self._free = deque(range(len(self._slots)))
        self._ordered = 0  # and not yet taken
        orders, self._orders = os.pipe()
        try:
            setups = [self._start(orders) for _ in range(processes)]
            for setup in setups:  # only now, so that all of them start at the same time
                # where a process is gone already, whoever waits for it hears of that
                with contextlib.suppress(BrokenPipeError), setup:
                    setup.send(maker)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(orders)

    def order(self, step: int) -> None:
        """Have a batch made."""
        os.write(self._orders, ORDER.pack(step, self._free.popleft()))
        self._ordered += 1

    def take(self, step: int) -> Batch:
        """Wait for a batch that was ordered; its arrays may be written to, and stay what they are as long as anybody has them.

        Raises:
            DataError, NotFoundError: as `BatchMaker.make`.
            InfrastructureError: a process was ended from outside.
            RuntimeError: making the batch failed in a way that nobody foresaw; with the traceback.
        """
        while step not in self._done:
            self._listen()
        number, size, length = self._done.pop(step)
        self._ordered -= 1
        if size < 0:
            self._raise(step, self._slots[number].buffer(length).tobytes())
        head = self._slots[number].buffer(size + length)[size:].tobytes()
        pixels = self._slots[number].buffer(size)
        if len(self._slots) - len(self._free) - self._ordered > LENT:  # somebody collects batches: let slots not run out
            pixels = pixels.copy()
            self._free.append(number)
        else:  # the slot is free again when the last array that looks into it is gone
            weakref.finalize(pixels, self._free.append, number).atexit = False
        return Batch.of(head, pixels)

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        for key in self._selector.get_map().values():
            os.close(key.fd)
        self._selector.close()
        os.close(self._orders)
        for slot in self._slots:
            slot.close()

    def _start(self, orders: int):
        """Start a process; returns the end of the pipe through which it waits for its maker."""
        setup, send = Pipe(duplex=False)
        done, report = os.pipe()
        given = [setup.fileno(), orders, report, *(slot.descriptor for slot in self._slots)]
        try:
            process = subprocess.Popen(  # noqa: S603 (this very interpreter, and a program of ours)
                [sys.executable, "-P", "-c", _PROGRAM, *map(str, given)],
                pass_fds=given,
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        except BaseException:
            os.close(done)
            raise
        finally:
            setup.close()
            os.close(report)
        self._processes.append(process)
        self._selector.register(done, selectors.EVENT_READ, process)
        return send

    def _listen(self) -> None:
        for key, _ in self._selector.select():
            record = os.read(key.fd, DONE.size)
            if not record:
                raise InfrastructureError(_ending(key.data.wait()))
            step, *rest = DONE.unpack(record)
            self._done[step] = (rest[0], rest[1], rest[2])

    def _raise(self, step: int, head: bytes) -> None:
        kind, words = json.loads(head)
        if not kind:
            raise RuntimeError(f"step {step} could not be made:\n{words}")
        raise retell(kind, words)


def _environment() -> dict[str, str]:
    """Modules are found where this process finds them, and every library keeps to one thread."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _ending(code: int) -> str:
    why = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return (
        f"A process of the local carrier {why}. Where memory runs out, the kernel ends processes: lower data.prefetch, "
        "data.cpus or the pictures of a step; or look into the log for what the process said."
    )
