"""Progress of what takes long, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer

#: Seconds after which something takes long.
PATIENCE = 2.0

#: Held by what shows its progress: there is one line for it, and what goes on inside of that shows nothing.
_LINE = Lock()


@contextmanager
def waiting(text: str, wanted: bool | None = None) -> Iterator[Callable[[str], None]]:
    """Line on standard error that says what goes on in the body, from two seconds on and until it ends.

    Parameters
    ----------
    text
        What goes on.
    wanted
        Show it; by default on a terminal only.

    Yields
    ------
    Callable
        Changes the text.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted) or not _LINE.acquire(blocking=False):
        yield lambda text: None
        return
    try:
        line = _Line(text)
        try:
            yield line.say
        finally:
            line.end()
    finally:
        _LINE.release()


def watched[T](items: Iterable[T], text: str, total: int, wanted: bool | None = None) -> Iterator[T]:
    """Items as they come, while a line says how many of them came (:func:`waiting`)."""
    with waiting(f"{text}: 0 of {total}", wanted) as say:
        for count, item in enumerate(items, 1):
            yield item
            say(f"{text}: {count} of {total}")


class _Line:
    """The line, which appears when it is time for it."""

    def __init__(self, text: str) -> None:
        self._text, self._lock, self._over = text, Lock(), False
        self._screen: Callable[[str], None] | None = None
        self._close: Callable[[], None] = lambda: None
        self._timer = Timer(PATIENCE, self._appear)
        self._timer.daemon = True
        self._timer.start()

    def say(self, text: str) -> None:
        """Change the text."""
        with self._lock:
            self._text = text
            if self._screen is not None:
                self._screen(text)

    def end(self) -> None:
        """Take the line away."""
        self._timer.cancel()
        with self._lock:
            self._over = True
            self._close()

    def _appear(self) -> None:
        from rich.console import Console
        from rich.text import Text

        with self._lock:
            if self._over:
                return
            status = Console(stderr=True, force_terminal=True).status(Text(self._text))
            status.start()
            self._screen, self._close = lambda text: status.update(Text(text)), status.stop
