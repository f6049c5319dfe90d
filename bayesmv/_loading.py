"""Ctrl-C while the command line loads: it ends without a word, before there is anything to say.

Imported before all else. Python programs that import bayesmv keep their own handlers.
"""

import os
import signal
import sys
from typing import NoReturn


def _end(*_: object) -> NoReturn:
    os._exit(130)


if os.path.basename(sys.argv[0] if sys.argv else "") in ("bayesmv", "bayesmv.exe"):
    signal.signal(signal.SIGINT, _end)
