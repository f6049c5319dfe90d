"""What README.md and docs/guide.md show is what the program does: Python runs, files and commands give what is printed.

``toml`` blocks whose first line is ``data = "x.csv"`` become ``x.toml``, ``console`` blocks are run, ``text``
blocks are what the Python block before them printed. ``[…]`` stands for lines cut. Draws are few, and so posterior
figures are not compared.
"""

import contextlib
import io
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import bayesmv as bmv
from bayesmv.cli import commands as cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "guide.md"]
#: The guide goes on where the first page ends.
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
CUT = "[…]"
#: Figures are printed with at least three digits; the last may differ between machines.
TOLERANCE = 0.006


@dataclass(frozen=True)
class Block:
    language: str
    source: str
    output: str = ""


def blocks():
    """Fenced blocks of the README in order; the output of Python with it."""
    found = [Block(*match) for match in re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)]
    out = []
    for block in found:
        if block.language == "text":
            out[-1] = Block("python", out[-1].source, block.source)
        else:
            out.append(block)
    return out


def of(language):
    return [block for block in blocks() if block.language == language]


def words(text):
    """Words of an output, without those that may change with the engine, and times."""
    return re.sub(r"in \d+ iterations|likelihood engine: \w+|\w+\s+engine|[\d.]+ (µs|ms|s)\b", "", text).split()


def same(shown, fresh):
    """Whether two lists of words are equal, numbers nearly."""
    return len(shown) == len(fresh) and all(_same_word(a, b) for a, b in zip(shown, fresh, strict=True))


def _same_word(a, b):
    try:
        return float(a) == pytest.approx(float(b), rel=TOLERANCE, abs=1e-12)
    except ValueError:
        return a == b


def run(arguments, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bayesmv", *arguments])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    return capsys.readouterr().out, ending.value.code or 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as the README supposes it: the models, and the model files and data that it shows."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "models", tmp_path / "models")
    bmv.load_dataset("canty").to_csv("trees.csv", index=False)
    for block in of("toml"):
        named = re.match(r'data = "(\w+)\.csv"\n', block.source)
        if named:
            Path(f"{named[1]}.toml").write_text(block.source, encoding="utf-8")
    return tmp_path


@pytest.fixture
def few_draws(monkeypatch):
    sample = bmv.sample
    monkeypatch.setattr(
        bmv, "sample", lambda design, **given: sample(design, **given, draws=20, tune=50, chains=2, progress=False)
    )


@pytest.mark.usefixtures("few_draws")
def test_readme__python_and_what_it_prints(folder, monkeypatch, capsys):
    namespace = {}
    for block in of("python"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.source, "README.md", "exec"), namespace)
        assert same(block.output.split(), printed.getvalue().split()), printed.getvalue()
    # The pedigree that Python has just written is what this command reads.
    (birds,) = [block for block in of("console") if "birds.toml" in block.source]
    check_console(birds, monkeypatch, capsys)


def check_console(block, monkeypatch, capsys):
    command, *shown = block.source.splitlines()
    fresh, code = run(command.removeprefix("$ bayesmv ").split(), monkeypatch, capsys)
    assert code == 0
    parts = [words(part) for part in "\n".join(shown).split(CUT)]
    if len(parts) == 1:
        assert same(parts[0], words(fresh)), fresh
    for part in parts:
        assert contains(words(fresh), part), f"{' '.join(part)}\nis not in\n{fresh}"


def contains(whole, part):
    return any(same(part, whole[i : i + len(part)]) for i in range(len(whole) - len(part) + 1))


CHECKS = [block for block in of("console") if block.source.startswith(("$ bayesmv check", "$ bayesmv rank"))]
#: Answers of other programs have a table of their own, whose file is not shipped.
COMPARISONS = [
    block for block in of("console") if block.source.startswith("$ bayesmv compare") and "--with" not in block.source
]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("block", CHECKS, ids=lambda block: block.source.split()[3])
def test_readme__check_and_rank(block, monkeypatch, capsys):
    check_console(block, monkeypatch, capsys)


@pytest.mark.usefixtures("folder")
def test_readme__own_model_file_is_canty_us(monkeypatch, capsys):
    assert "```csv\n" in TEXT
    header, *rows = of("csv")[0].source.splitlines()
    lines = Path("trees.csv").read_text(encoding="utf-8").splitlines()
    assert header == lines[0]
    assert set(rows) <= set(lines)
    output, code = run(["reml", "trees.toml"], monkeypatch, capsys)
    assert code == 0
    assert "logLik -1872.163" in output


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("block", COMPARISONS, ids=lambda block: block.source.split()[3])
def test_readme__comparison_has_the_reml_estimates(block):
    fit = bmv.fit_reml(bmv.load_design(block.source.split()[3]))
    shown = [(float(value), float(error.replace("–", "nan"))) for value, error in re.findall(ROW, block.source, re.M)]
    expected = [pair for name in fit.covariances for pair in term_estimates(fit, name)]
    terms = {line.split()[0] for line in block.source.splitlines() if line.split()}
    if "Residual" not in terms:
        expected = [pair for name in list(fit.covariances)[:-1] for pair in term_estimates(fit, name)]
    assert len(shown) == len(expected)
    np.testing.assert_allclose(np.array(shown), np.array(expected), rtol=TOLERANCE)


#: A row of the table: term, component (whose second trait may be on the next line), REML estimate, s.e.
ROW = r"^\w+ +(?:var|cov|cor) [a-z_]+(?:,(?: [a-z_]+)?)? +(-?[\d.e-]+) +([\d.e-]+|–) "


def term_estimates(fit, name):
    """(estimate, s.e.) of the covariances of a term, then of its correlations."""
    support = fit.record.structure(name).support
    covariances = [fit.component(name, i, j)[:2] for i, j in support]
    return covariances + [fit.component(name, i, j, as_correlation=True)[:2] for i, j in support if i != j]


def test_readme__published_table():
    rows = re.findall(
        r"^\| (\w+) \| (?:var|cov) [^|]+\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", TEXT, re.MULTILINE
    )
    published = bmv.published_table()
    fit = bmv.fit_reml(bmv.load_design(ROOT / "models" / "canty_us.toml"))
    assert [row[0] for row in rows] == list(published["term"])
    columns = np.array([[float(cell) for cell in row[1:]] for row in rows]).T
    np.testing.assert_allclose(columns[0], published["component"], rtol=1e-6)
    np.testing.assert_allclose(columns[1], published["std_error"], rtol=1e-3)
    assert [row[3] for row in rows] == [f"{value:.7g}" for value in fit.varcomp["component"]]
    np.testing.assert_allclose(columns[3], fit.varcomp["std_error"], rtol=1e-3)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_readme__links_and_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors(text)
    for target, anchor in re.findall(r"\]\(([^)#]+\.md)#([^)]+)\)", text):
        assert anchor in anchors((page.parent / target).read_text(encoding="utf-8")), f"{target}#{anchor}"


def anchors(text):
    """Anchors of the headings of a page."""
    return {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_readme__is_read_in_five_minutes():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 150
