"""The scripts of examples/ run, and their notebooks hold the same cells with today's estimates and no errors."""

import importlib.util
import runpy
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
LARGEST_NOTEBOOK = 60_000  # bytes
#: What scripts print from here on depends on the draws.
SAMPLED = "term   parameter"


def read_cells(script):
    spec = importlib.util.spec_from_file_location("make_notebooks", FOLDER / "make_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.read_cells(script)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_01_canty__runs_and_its_notebook_holds_the_same_estimates(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAYESMV_DRAWS", "50")
    runpy.run_path(str(FOLDER / "01_canty.py"))
    printed = capsys.readouterr().out
    stored = "".join(output.text for cell in code_cells(FOLDER / "01_canty.ipynb") for output in cell.outputs)
    for expected in ("logLik -1882.451, sum of the two -1882.451", "family correlation 0.3689", "gain 10.29;"):
        assert expected in printed
    assert SAMPLED in stored
    assert stored.partition(SAMPLED)[0].split() == printed.partition(SAMPLED)[0].split()
    assert (tmp_path / "canty_us.png").stat().st_size > 10_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook__has_the_cells_of_the_script(path):
    notebook = nbformat.read(path, as_version=4)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == read_cells(path.with_suffix(".py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook__was_run_without_errors_and_is_small(path):
    cells = code_cells(path)
    outputs = [output for cell in cells for output in cell.outputs]
    assert {(output.output_type, output.get("name")) for output in outputs} == {("stream", "stdout")}
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert path.stat().st_size < LARGEST_NOTEBOOK


@pytest.mark.slow
def test_03_three_answers__runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAYESMV_DRAWS", "200")
    runpy.run_path(str(FOLDER / "03_three_answers.py"))
    printed = capsys.readouterr().out
    for expected in ("r_g = 0.3689", "95 % profile interval -0.1023 … 0.7222", "on the boundary: Block (rank 1)"):
        assert expected in printed


def test_03_three_answers__lme4_agrees():
    """REML of each trait alone beside what lme4 gave."""
    stored = "".join(o.text for cell in code_cells(FOLDER / "03_three_answers.ipynb") for o in cell.outputs)
    rows = [line.split() for line in stored.splitlines() if line.split()[:1] and len(line.split()) == 5][1:7]
    assert len(rows) == 6
    for row in rows:
        assert float(row[2]) == pytest.approx(float(row[4]), rel=1e-6)


def test_published__estimates_and_gain(monkeypatch, capsys):
    """What `make demo` prints after the comparison."""
    monkeypatch.chdir(FOLDER.parent)
    runpy.run_path(str(FOLDER / "published.py"))
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()[1:10]]
    assert [row[3] for row in rows] == [row[4] for row in rows]
    assert "Family correlation: 0.37, published 0.37" in printed
    assert "us minus diag: 10.29, published 8.53." in printed
