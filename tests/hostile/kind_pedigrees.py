"""Pedigrees: loops, self-parents, duplicates, codes, columns that are missing."""

from __future__ import annotations

from harness import Case, Result, model

_MODEL = model('[relationships.A]\npedigree = "ped.csv"\n', random='"us(trait):vm(Family, A)"')
_FOUNDERS = "".join(f"F{i},,\n" for i in range(10))
GOOD = "id,sire,dam\n" + _FOUNDERS


def _of(name: str, ped: str | bytes | None, says: str = "", codes: tuple[int, ...] = (2,), **options: object) -> Case:
    return Case(
        name=name,
        words="reml {f}/model.toml",
        files={"model.toml": _MODEL, "ped.csv": ped},
        says=says,
        codes=codes,
        **options,
    )


def _with(*rows: str) -> str:
    """Founders, and sons of a bull and of cows of their own, some of them replaced."""
    changed = {row.split(",")[0]: row for row in rows}
    lines = [changed.pop(f"F{i}", f"F{i},,") for i in range(10)]
    return "\n".join(["id,sire,dam", *lines, *changed.values()]) + "\n"


def _same_as_founders(result: Result) -> str | None:
    return None if "logLik" in result.out else "no fit"


#: Words for an unknown parent: as an empty cell.
UNKNOWN = [
    "0",
    ".",
    "*",
    "-",
    "?",
    "NA",
    "-9",
    "-99",
    "-999",
    "unknown",
    "UNK",
    "UNKNOWN",
    "none",
    "nan",
    "None",
    "N/A",
]
_RELATED = [f"F{i},F0,F1" for i in range(2, 6)]

CASES = [
    *(
        _of(f"unknown parents coded {code}", GOOD.replace(",,", f",{code},{code}"), codes=(0,), right=_same_as_founders)
        for code in UNKNOWN
    ),
    _of("founders", GOOD, codes=(0,)),
    _of("mark at the beginning", b"\xef\xbb\xbf" + GOOD.encode(), codes=(0,)),
    _of("carriage returns", GOOD.replace("\n", "\r\n"), codes=(0,)),
    _of("blank lines", GOOD.replace("\n", "\n\n"), codes=(0,)),
    _of("children first", _with("F0,F1,F2", "F1,F3,F4"), codes=(0,)),
    _of("parents without rows", _with("F0,P1,P2", "F1,P1,P2"), codes=(0,)),
    _of("columns in another order", "dam,id,sire\n" + "".join(f",F{i},\n" for i in range(10)), codes=(0,)),
    _of("the same row twice", _with() + "F0,,\n", codes=(0, 2)),
    _of("no file", None, "ped.csv"),
    _of("empty file", "", "ped.csv"),
    _of("header only", "id,sire,dam\n"),
    _of("no header", _FOUNDERS),
    _of("binary", bytes(range(256)), "cannot read"),
    _of("UTF-16", GOOD.encode("utf-16"), codes=(0,), right=_same_as_founders),
    _of("semicolons", GOOD.replace(",", ";"), codes=(0,), right=_same_as_founders),
    _of("NUL bytes", GOOD.replace("F3", "F\0"), "cannot read|NUL"),
    _of("other columns", GOOD.replace("id,sire,dam", "animal,father,mother"), "'id'"),
    _of("no dam", "id,sire\n" + "".join(f"F{i},\n" for i in range(10)), "dam"),
    _of("a column twice", "id,sire,sire,dam\n" + "".join(f"F{i},,,\n" for i in range(10)), "sire"),
    _of("a loop of one", _with("F0,F0,"), "F0"),
    _of("own dam", _with("F0,,F0"), "F0"),
    _of("a loop of two", _with("F0,F1,", "F1,F0,"), "F[01]"),
    _of("a loop of ten", _with(*(f"F{i},F{(i + 1) % 10}," for i in range(10))), "F"),
    _of("a loop of 20,000", "id,sire,dam\n" + "".join(f"F{i},F{(i + 1) % 20000},\n" for i in range(20000)), "F"),
    _of(
        "a line of 20,000", "id,sire,dam\nF0,,\n" + "".join(f"F{i},F{i - 1},\n" for i in range(1, 20000)), codes=(0, 2)
    ),
    _of("sire and dam the same: selfed", _with("F0,F1,F1"), codes=(0,)),
    _of("sire of one, dam of another: monoecious", _with("F0,F1,F2", "F3,F2,F1"), codes=(0,)),
    _of("two rows that differ", _with("F0,F1,F2") + "F0,F3,F4\n", "F0"),
    _of("an id that is missing", _with() + ",F0,F1\n", "missing|id"),
    _of("an id that is a code", _with() + "0,F0,F1\n", codes=(0, 2)),
    _of("families that are not in it", "id,sire,dam\nF0,,\nF1,,\n", "F2"),
    _of("ids in another case", GOOD.lower().replace("id,sire", "id,sire"), "F0"),
    _of("ids with blanks", GOOD.replace("F3", " F3 "), codes=(0, 2)),
    _of("ids with leading zeros", GOOD.replace("F3", "03"), "F3"),
    _of("a bull of all that is unknown", _with(*(f"F{i},XX,XX" for i in range(10))), "XX"),
    _of("rows that are too long", GOOD.replace(",,", ",,,1"), "line|fields|columns|cells"),
    _of("a quote that is not closed", GOOD.replace("F3", '"F3')),
    _of("decimals as parents", _with("F0,4.1,4.10"), codes=(0, 2)),
    _of("markup as parents", _with("F0,[/],[red]"), codes=(0,)),
]
