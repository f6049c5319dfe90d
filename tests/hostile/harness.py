"""What is thrown at the command line, and how what it does is judged.

A case is a folder with a model, data and what else it takes, and the words of a command. The command runs in this
process. It is to end within a time limit, with an exit code that fits, without a traceback, with at most one line on
standard error beside notes, and without a change of any file but the output that was asked for.
"""

from __future__ import annotations

import hashlib
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.cli import commands as cli

#: Seconds that a case may take; a machine under load, and the first call of a kernel, are slow.
LIMIT = 60

MODEL = """\
data = "trial.csv"
unit = "tree"
traits = ["bden", "veloc"]
fixed = "1"
random = "us(trait):Block + us(trait):Family"
"""


def trial(seed: int = 4) -> pd.DataFrame:
    """5 blocks × 10 families × 2 trees, balanced and complete."""
    data = pd.DataFrame(list(product(range(5), range(10), range(2))), columns=["Block", "Family", "tree"])
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(10, 2))[data["Family"]] + rng.normal(size=(5, 2))[data["Block"]]
    Y = effects @ [[1.0, 0.4], [0.0, 0.9]] + rng.normal(size=(len(data), 2))
    return data.assign(
        Block="B" + data["Block"].astype(str),
        Family="F" + data["Family"].astype(str),
        tree=[f"t{i}" for i in range(len(data))],
        bden=(500.0 + 20.0 * Y[:, 0]).round(4),
        veloc=(4.0 + 0.1 * Y[:, 1]).round(6),
        age=rng.integers(5, 9, len(data)),
        sex=np.where(rng.random(len(data)) < 0.5, "m", "f"),
    )


CSV = trial().to_csv(index=False)


def model(more: str = "", **changes: str | None) -> str:
    """Model with lines replaced; None takes a line out, `more` is added at the end."""
    lines = [line for line in MODEL.splitlines() if line.split(" =")[0] not in changes]
    lines += [f"{key} = {value}" for key, value in changes.items() if value is not None]
    return "\n".join(lines) + "\n" + more


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def lines(self) -> list[str]:
        """Lines of standard error that are neither notes nor tell of a file that was written."""
        return [line for line in self.err.splitlines() if not line.startswith(("note: ", "wrote "))]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One hostile input.

    Parameters
    ----------
    name
        What it is.
    words
        Words of the command; ``{f}`` stands for the folder.
    files
        Files of the folder beside a good model and good data, or in their place; None for none of that name.
    prepare
        Does to the folder what files cannot.
    codes
        Exit codes that fit.
    says
        Pattern that the line on standard error, or else what is printed, must match.
    outputs
        Files that may be created or changed.
    right
        Says what is wrong with the result; nothing if it is right.
    """

    name: str
    words: str = "check {f}/model.toml"
    files: Mapping[str, str | bytes | None] = field(default_factory=dict)
    prepare: Callable[[Path], object] | None = None
    codes: tuple[int, ...] = (2,)
    says: str = ""
    outputs: tuple[str, ...] = ()
    right: Callable[[Result], str | None] | None = None


class _Hang(BaseException):
    """A case that did not end."""


def _ring(*_: object) -> None:
    raise _Hang


def run_case(case: Case, folder: Path, monkeypatch: Any, capsys: Any) -> tuple[str, str]:
    """Outcome of a case, ``clean``, ``traceback``, ``hang`` or ``wrong``, and why."""
    folder.mkdir()
    for name, content in {"model.toml": MODEL, "trial.csv": CSV, **case.files}.items():
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    if case.prepare is not None:
        case.prepare(folder)
    before = snapshot(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["bayesmv", *(word.replace("{f}", str(folder)) for word in case.words.split())])
    capsys.readouterr()
    signal.signal(signal.SIGALRM, _ring)
    signal.alarm(LIMIT)
    try:
        cli.main()
        code: Any = 0
    except SystemExit as end:
        code = end.code or 0
    except _Hang:
        return "hang", f"no end within {LIMIT} s"
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    result = Result(code, *capsys.readouterr(), folder)
    if code == cli.BUG or "Traceback" in result.out + result.err:
        return "traceback", result.err[-400:]
    problem = judged(case, result, before)
    return ("clean", "") if problem is None else ("wrong", problem)


def judged(case: Case, result: Result, before: Mapping[str, str]) -> str | None:
    """What is wrong with a result; None for nothing."""
    said = result.err if result.code else result.err + result.out
    if result.code not in case.codes:
        return f"exit {result.code}, not {case.codes}: {said[-300:]}"
    if len(result.lines) > 1:
        return f"{len(result.lines)} lines: {result.err}"
    if result.code == 2 and not result.lines:
        return "exit 2 without a word"
    if case.says and not re.search(case.says, said):
        return f"does not say {case.says!r}: {said[-300:]}"
    after = snapshot(result.folder)
    touched = [n for n in sorted(after.keys() | before.keys()) if after.get(n) != before.get(n)]
    foreign = [name for name in touched if name not in case.outputs]
    if foreign:
        return f"created or changed {foreign}"
    return None if case.right is None else case.right(result)


def snapshot(folder: Path) -> dict[str, str]:
    """Content of every file of a folder, by name."""
    out = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        out[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    return out


def names_are_different(cases: Iterable[Case]) -> bool:
    """Whether no two cases are the same."""
    names = [case.name for case in cases]
    return len(names) == len(set(names))
