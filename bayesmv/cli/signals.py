"""Signals that end a run: the first in good order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from bayesmv.cli.output import INTERRUPTED
from bayesmv.design.saved import drop_parts

#: Ctrl-C, and the request to end that schedulers and shutdowns send.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Handlers of signals while a command runs.

    The first signal raises KeyboardInterrupt, which ends a run with what it has. The second ends the process without
    further ado, even while Python waits for compiled code.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._received: int | None = None

    @property
    def code(self) -> int:
        """Exit code of a run that was interrupted: 130 by Ctrl-C, 143 by a request to end."""
        return INTERRUPTED if self._received in (None, signal.SIGINT) else 128 + int(self._received or 0)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for each in _SIGNALS:
                # What a parent had ignored (nohup, a job in the background) stays ignored.
                if signal.getsignal(each) != signal.SIG_IGN:
                    self._before[each] = signal.signal(each, self._first)
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        if self._pipe is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._pipe[1])

    def _first(self, number: int, _: FrameType | None) -> None:
        if self._received is not None:
            self._quit()
        self._received = number
        if os.name == "posix":
            # A thread hears of the next signal even while this one waits for the sampler to stop.
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(self._pipe[0],), daemon=True).start()
        raise KeyboardInterrupt

    def _watch(self, read: int) -> None:
        heard = os.read(read, 1)
        os.close(read)
        if heard and heard[0] in _SIGNALS:
            self._quit()

    def _quit(self) -> None:
        drop_parts()
        os._exit(self.code)
