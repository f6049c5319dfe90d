"""Data files: encodings, separators, quoting, ragged rows, codes, numbers beyond reason."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pandas as pd
from harness import CSV, MODEL, Case, Result, model, trial

import bayesmv as bmv

_LINES = CSV.splitlines()


def _logliks() -> float:
    """Log-likelihood of the good data."""
    spec = bmv.ModelSpec.from_formula("bden + veloc ~ 1", random="us(trait):Block + us(trait):Family", unit="tree")
    return bmv.fit_reml(bmv.build_design(spec, trial())).loglik


def _as_good(result: Result) -> str | None:
    """The same answer as of the good data."""
    found = re.search(r"logLik (-?\d+\.\d+)", result.out)
    if found is None:
        return "no log-likelihood"
    return None if abs(float(found[1]) - _logliks()) < 2e-3 else f"logLik {found[1]}, not {_logliks():.3f}"


def _fit(name: str, csv: str | bytes, text: str = MODEL, codes: tuple[int, ...] = (0,), **options: object) -> Case:
    return Case(
        name=name, words="reml {f}/model.toml", files={"model.toml": text, "trial.csv": csv}, codes=codes, **options
    )


def _refused(name: str, csv: str | bytes, says: str = "", text: str = MODEL) -> Case:
    return _fit(name, csv, text, codes=(2,), says=says)


def _cell(column: str, value: object, rows: object = 3) -> str:
    data = trial().astype({column: object})
    data.loc[rows, column] = value
    return data.to_csv(index=False)


def _column(name: str, values: object) -> str:
    return trial().assign(**{name: values}).to_csv(index=False)


ALL = slice(None)
_AGE = model(fixed='"1 + age"')

CASES = [
    # The same table, written otherwise: the same answer.
    _fit("mark at the beginning", b"\xef\xbb\xbf" + CSV.encode(), right=_as_good),
    _fit("carriage returns", CSV.replace("\n", "\r\n"), right=_as_good),
    _fit("quoted cells", "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in _LINES), right=_as_good),
    _fit("spaces after commas", CSV.replace(",", ", "), right=_as_good),
    _fit("blank lines", CSV.replace("\n", "\n\n"), right=_as_good),
    _fit("no line break at the end", CSV.rstrip("\n"), right=_as_good),
    _fit("shuffled rows", trial().sample(frac=1.0, random_state=1).to_csv(index=False), right=_as_good),
    _fit("other columns", _column("notes", 'a,b "c" [/] é'), right=_as_good),
    _fit("an empty column", _column("empty", np.nan), right=_as_good),
    _fit("rows without records", CSV + "x1,B0,F0,,,,\n", codes=(0, 2)),
    _fit("integers as exponents", CSV.replace("B0", "1E1").replace("B1", "10"), right=_as_good),
    _fit("levels with leading zeros", CSV.replace("F1", "01").replace("F2", "1"), right=_as_good),
    _fit("levels with decimals", CSV.replace("F1", "4.1").replace("F2", "4.10"), right=_as_good),
    _fit("levels with markup", CSV.replace("F1", "[/]").replace("F2", "[red]"), right=_as_good),
    _fit("levels called nothing", CSV.replace("F1", "None").replace("F2", "null"), codes=(0, 2)),
    _fit("levels called true", CSV.replace("F1", "True").replace("F2", "False"), right=_as_good),
    _fit("levels called inf", CSV.replace("F1", "inf").replace("F2", "-inf"), right=_as_good),
    _fit("levels that are dates", CSV.replace("F1", "2024-01-02").replace("F2", "02.01.2024"), right=_as_good),
    _fit("levels in other scripts", CSV.replace("F1", "木").replace("F2", "é"), right=_as_good),
    _fit("levels that differ in case", CSV.replace("F1", "f2x").replace("F3", "F2X"), right=_as_good),
    _fit("traits with a million digits' scale", trial().assign(bden=trial()["bden"] * 1e8).to_csv(index=False)),
    _fit("a trait of 1e-12", trial().assign(veloc=trial()["veloc"] * 1e-12).to_csv(index=False)),
    _fit("a trait of 1e150", trial().assign(veloc=trial()["veloc"] * 1e150).to_csv(index=False), codes=(0, 2)),
    _fit("a trait of 1e300", trial().assign(veloc=trial()["veloc"] * 1e300).to_csv(index=False), codes=(0, 2)),
    _fit("a trait of 1e-200", trial().assign(veloc=trial()["veloc"] * 1e-200).to_csv(index=False), codes=(0, 2)),
    _fit("a trait of 1e-320", trial().assign(veloc=trial()["veloc"] * 1e-320).to_csv(index=False), codes=(0, 2)),
    _fit("a trait far from zero", trial().assign(veloc=trial()["veloc"] + 1e9).to_csv(index=False), codes=(0, 2)),
    _fit("a trait of two values", trial().assign(veloc=np.arange(100) % 2).to_csv(index=False)),
    _fit("a trait of one record that differs", _column("veloc", np.eye(1, 100)[0]), codes=(0, 2)),
    _fit(
        "half of a trait missing",
        trial().assign(veloc=trial()["veloc"].where(np.arange(100) % 2 > 0)).to_csv(index=False),
    ),
    # Refused, in one line.
    _refused("empty file", "", "trial.csv"),
    _refused("blank file", "\n\n\n", "trial.csv"),
    _refused("header only", _LINES[0] + "\n", "no rows"),
    _refused("no header", "\n".join(_LINES[1:]), "column"),
    _refused("one row", "\n".join(_LINES[:2])),
    _refused("two rows", "\n".join(_LINES[:3])),
    _refused("binary", bytes(range(256)) * 20, "cannot read"),
    _refused("a picture", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "cannot read"),
    _refused("NUL bytes", CSV.replace("B1", "B\0"), "cannot read|NUL"),
    _fit("UTF-16", CSV.encode("utf-16"), right=_as_good),
    _refused("half of UTF-16", CSV.encode("utf-16")[:-1], "cannot read.*UTF-16"),
    _refused("UTF-32", CSV.encode("utf-32"), "cannot read|UTF"),
    _fit("Latin-1", CSV.replace("F1", "Fé").encode("latin-1"), right=_as_good),
    _fit("semicolons and decimal commas", CSV.replace(",", ";").replace(".", ","), right=_as_good),
    _fit("a line for Excel", "sep=;\r\n" + CSV.replace(",", ";"), right=_as_good),
    _refused("a line for Excel that lies", "sep=;\n" + CSV, "not a table"),
    _refused("tabs and commas", CSV.replace(",", "\t", 200), "more than one way|fewer cells|Expected|not a table"),
    Case(
        name="a compressed file cut short",
        files={
            "model.toml": MODEL.replace("trial.csv", "trial.csv.gz"),
            "trial.csv.gz": gzip.compress(CSV.encode())[:-9],
        },
        says="cannot read",
    ),
    _refused("a web page", "<html><body>not found</body></html>"),
    _refused("a spreadsheet", b"PK\x03\x04" + bytes(200), "cannot read"),
    _refused("rows that are too long", CSV.replace("\n", ",1\n").replace(",1\n", "\n", 1), "fields|columns|cells|line"),
    _refused("a row that is too long", CSV + "t,B,F,1,2,3,m,4,5\n", "line|fields"),
    _refused("a quote that is not closed", CSV.replace("t3,", '"t3,', 1)),
    _refused("a column twice", CSV.replace("age", "veloc", 1), "two columns"),
    _refused("a column without a name", CSV.replace("veloc", "", 1), "veloc"),
    _refused("columns in capitals", CSV.replace("veloc", "VELOC", 1), "veloc"),
    _refused("words in a trait", _cell("bden", "dead"), "dead"),
    _refused("decimal commas", _cell("bden", '"4,5"'), "bden"),
    _refused("two decimal points", _cell("bden", "4.5.6"), "bden"),
    _refused("units in a trait", _cell("bden", "450 kg"), "bden"),
    _refused("infinity in a trait", _cell("bden", np.inf), "bden"),
    _refused("minus infinity in a trait", _cell("bden", -np.inf), "bden"),
    _refused("a number beyond numbers", _cell("bden", "1e999"), "bden"),
    _refused("a constant trait", _cell("veloc", 4.0, ALL), "constant"),
    _refused("a trait that was never recorded", _cell("veloc", np.nan, ALL), "not recorded"),
    _refused("no trait recorded", trial().assign(bden=np.nan, veloc=np.nan).to_csv(index=False)),
    _refused("codes -9 in a trait", _cell("veloc", -9, [3, 5, 8, 30]), "-9"),
    _refused("codes -99 in a trait", _cell("bden", -99, [3, 5, 8, 30]), "-99"),
    _refused("codes -999 in a trait", _cell("bden", -999, [3, 5, 8, 30]), "-999"),
    _refused("codes 9999 in a trait", _cell("veloc", 9999, [3, 5, 8, 30]), "9999"),
    _refused("one level", _cell("Block", "B1", ALL), "single level"),
    _refused("a missing level", _cell("Block", np.nan), "Block"),
    _refused("a unit twice", _cell("tree", "t4"), "more than once"),
    _refused("a missing unit", _cell("tree", np.nan), "missing"),
    _refused("two traits that are one", _column("veloc", trial()["bden"] * 2), "veloc|bden"),
    _refused("a covariate that is constant", _cell("age", 7, ALL), "age", _AGE),
    _refused("a covariate that is missing", _cell("age", np.nan), "age", _AGE),
    _refused("a covariate that is infinite", _cell("age", np.inf), "age", _AGE),
    _refused("a covariate twice over", _column("years", trial()["age"] * 2), "years", model(fixed='"1 + age + years"')),
    _refused("a factor that is the unit", CSV, "", model(fixed='"1 + tree"')),
    _refused("weights of zero", _column("w", 0.0), "weight", model(weights='"w"')),
    _refused("negative weights", _column("w", -1.0), "weight", model(weights='"w"')),
    _refused("weights that are missing", _column("w", np.nan), "weight", model(weights='"w"')),
    _refused("weights that are infinite", _column("w", np.inf), "weight", model(weights='"w"')),
    _refused("weights that are words", _column("w", "x"), "weight", model(weights='"w"')),
    _refused("weights of 1e300", _column("w", 1e300 * (1.0 + np.arange(100.0))), "weight", model(weights='"w"')),
    _refused("weights of 1e-300", _column("w", 1e-300 * (1.0 + np.arange(100.0))), "weight", model(weights='"w"')),
    _refused(
        "weights of 1 and 1e300", _column("w", np.where(np.arange(100) % 2, 1.0, 1e300)), "weight", model(weights='"w"')
    ),
    _refused(
        "a fixed effect that fits all",
        trial().assign(bden=3.0 + 2.0 * trial()["age"]).to_csv(index=False),
        "bden",
        _AGE,
    ),
    _refused("a separator of semicolons without columns", "a;b;c\n1;2;3\n"),
    _fit("semicolons", CSV.replace(",", ";"), right=_as_good),
    _fit("tabs", CSV.replace(",", "\t"), right=_as_good),
    _fit("a cell of a million characters", CSV.replace("t3,", "t" * 10**6 + ",", 1), codes=(0,)),
    _fit("a million blanks", CSV.replace("t3,", " " * 10**6 + "t3,", 1), codes=(0,)),
    _fit(
        "1,000 columns",
        pd.concat([trial(), pd.DataFrame(1.0, range(100), [f"c{i}" for i in range(1000)])], axis=1).to_csv(index=False),
        right=_as_good,
    ),
    _fit(
        "no families twice", trial().assign(Family=[f"F{i}" for i in range(100)]).to_csv(index=False), codes=(0, 2, 3)
    ),
]
