"""What a process of the local carrier runs: steps come in through a pipe, batches go out in slots of shared memory.

Started by `crew.Crew` as `python -c "from ipt_platform.data.batch_process import main; main()" DESCRIPTORS...`.
"""

import json
import os
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection

import cv2
import numpy as np

from ipt_platform.data.heap import keep_freed_memory
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.data.slot import Slot
from ipt_platform.data.told import EXPECTED, tell

ORDER = struct.Struct("<qq")
"""Step, number of the slot to make it in. Written and read whole, so that processes can share one pipe of orders."""

DONE = struct.Struct("<qqqq")
"""Step, slot, bytes of the arrays, bytes of the head behind them. Arrays of -1 bytes: the head is an error, [kind, words]."""


def main() -> None:
    """Make batches until nobody orders any more, which is also when whoever ordered has died.

    The arguments are descriptors: the pipe that the maker comes through, the pipe of orders, one pipe for what is done, and
    every slot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    keep_freed_memory()
    cv2.setNumThreads(1)  # one process for each core: more threads would only take turns
    setup, orders, done, *slots = map(int, sys.argv[1:])
    with Connection(setup, writable=False) as sender:
        maker = sender.recv()
    try:
        _serve(maker, orders, done, [Slot(each) for each in slots])
    except BrokenPipeError:
        sys.exit(0)


def _serve(maker: BatchMaker, orders: int, done: int, slots: Sequence[Slot]) -> None:
    while order := os.read(orders, ORDER.size):
        step, number = ORDER.unpack(order)
        slot = slots[number]
        size = -1
        try:
            batch = maker.make(step, slot.buffer)
            size, head = maker.room(step), batch.head()
        except EXPECTED as error:
            head = json.dumps(tell(error)).encode()
        except Exception:
            head = json.dumps(("", traceback.format_exc())).encode()
        at = max(size, 0)
        slot.buffer(at + len(head))[at:] = np.frombuffer(head, np.uint8)
        os.write(done, DONE.pack(step, number, size, len(head)))
