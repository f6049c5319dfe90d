"""Identifiers and codes for unknown parents: cases with right values from an independent dense REML in NumPy."""

from pathlib import Path

import pytest

import bayesmv as bmv

CASES = Path(__file__).parent / "cases"


def fit(case: str, model: str = "model") -> bmv.RemlFit:
    return bmv.fit_reml(bmv.load_design(CASES / case / f"{model}.toml"))


@pytest.mark.parametrize(
    ("case", "model", "components", "loglik"),
    [
        ("leading_zero_ids", "model", [0.946, 0.918], -699.163),
        ("decimal_ids", "model", [0.799, 0.951], -979.631),
        ("decimal_ids", "fam", [0.895, 1.141], -645.993),
        ("unknown_parent_codes", "m_empty", [0.665, 1.829], -697.843),
        ("unknown_parent_codes", "m_star", [0.665, 1.829], -697.843),
        ("unknown_parent_codes", "m_minus9", [0.665, 1.829], -697.843),
    ],
)
def test_cases__right_values(case, model, components, loglik):
    got = fit(case, model)
    assert got.varcomp["component"].tolist() == pytest.approx(components, abs=5e-4)
    assert got.loglik == pytest.approx(loglik, abs=5e-4)


def test_leading_zeros__come_back_as_written():
    got = fit("leading_zero_ids", "fam")
    levels = bmv.breeding_values(got, "fam")["level"]
    assert levels.tolist() == [f"{i:03d}" for i in range(1, len(levels) + 1)]


def test_decimals__are_levels_of_their_own():
    levels = bmv.load_design(CASES / "decimal_ids" / "fam.toml").term("fam").levels
    assert len(levels) == 34
    assert {"1E1", "10", "01", "1"} <= set(levels)


def test_unknown_parents__are_a_note():
    assert fit("unknown_parent_codes", "m_star").design.notes == (
        "id: '*' in 257 cells of sire and dam read as unknown",
    )


def test_dam_coded_0__is_an_empty_cell(tmp_path):
    coded = fit("dam_coded_0", "m")
    for file in (CASES / "dam_coded_0").iterdir():
        text = file.read_text()
        if file.name == "d.csv":
            rows = [line.split(",") for line in text.splitlines()]
            text = "\n".join(",".join([a, s, "" if d == "0" else d, y]) for a, s, d, y in rows)
        (tmp_path / file.name).write_text(text)
    empty = bmv.fit_reml(bmv.load_design(tmp_path / "m.toml"))
    assert coded.loglik == pytest.approx(empty.loglik, abs=1e-9)
    assert coded.varcomp["component"].tolist() == pytest.approx(empty.varcomp["component"].tolist(), abs=1e-6)
    assert "'0' in 4 records of 'dam' read as unknown" in coded.design.notes
    assert "4 records have no 'dam': they get no effect of it (a row of zeros)" in empty.design.notes
