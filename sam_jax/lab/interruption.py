"""Ctrl-C and SIGTERM while runs are trained: the first asks to stop, a second stops at once."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """What was asked to end has kept its state; `signal` is what asked."""

    def __init__(self, signal: int):
        super().__init__()
        self.signal = signal


class Asked:
    """Whether a signal has asked to stop, and which."""

    signal: int | None = None


@contextlib.contextmanager
def asked() -> Iterator[Asked]:
    """Listens for signals; outside the main thread, where Python allows no such thing, it hears none.

    A compiled program that runs for minutes lets no Python handler in, so a thread of our own is told by the
    operating system: that is how a second signal can end the process at once. A signal that is ignored, as Ctrl-C is
    by what a shell has put into the background, stays ignored.
    """
    stop = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def listen():
        while number := ours.recv(1):
            if number[0] not in SIGNALS:
                continue
            if stop.signal is not None:
                os.write(2, b"\x1b[?25h\n")  # the progress bar had hidden the cursor
                os._exit(128 + number[0])
            stop.signal = number[0]
            print("\nfinishing what is being trained, then saving; once more stops at once", file=sys.stderr)

    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in heard}
    descriptor = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.close()
        thread.join()
        ours.close()
