"""The command line: what it prints, in which form, and one line with exit code 2 for every malformed input."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from traces import trace_of

import bayesmv
from bayesmv.cli import commands as cli

COMMANDS = ("check", "reml", "sample", "compare", "rank", "curves", "simulate")

MODEL = """\
title = "A small trial"
data = "trial.csv"
unit = "tree"
traits = ["bden", "veloc"]
fixed = "1"
random = "us(trait):Block + us(trait):Family"
"""

GENETIC = """
[genetic]
term = "Family"
relationship = "half-sib"
"""


def trial(seed: int = 4) -> pd.DataFrame:
    """Return 5 blocks × 10 families × 2 trees, balanced and complete."""
    data = pd.DataFrame(list(product(range(5), range(10), range(2))), columns=["Block", "Family", "tree"])
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(10, 2))[data["Family"]] + rng.normal(size=(5, 2))[data["Block"]]
    Y = effects @ [[1.0, 0.4], [0.0, 0.9]] + rng.normal(size=(len(data), 2))
    return data.assign(
        Block="B" + data["Block"].astype(str),
        Family="F" + data["Family"].astype(str),
        tree=[f"t{i}" for i in range(len(data))],
        bden=500.0 + 20.0 * Y[:, 0],
        veloc=4.0 + 0.1 * Y[:, 1],
        age=rng.integers(5, 9, len(data)),
    )


@dataclass
class Folder:
    """A model file, its data, and the command line run on them in this process."""

    path: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture
    out: str = field(default="", init=False)
    err: str = field(default="", init=False)

    @property
    def model(self) -> Path:
        return self.path / "model.toml"

    @property
    def csv(self) -> Path:
        return self.path / "trial.csv"

    def write(self, model: str = MODEL, data: pd.DataFrame | None = None) -> "Folder":
        self.model.write_text(model, encoding="utf-8")
        (trial() if data is None else data).to_csv(self.csv, index=False)
        return self

    def run(self, *words: object) -> int:
        """Run ``bayesmv words`` and return its exit code."""
        self.monkeypatch.setattr(sys, "argv", ["bayesmv", *(str(w) for w in words)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        self.out, self.err = self.capsys.readouterr()
        return code


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys) -> Folder:
    return Folder(tmp_path, monkeypatch, capsys).write()


# ---------------------------------------------------------------- what works


@pytest.mark.parametrize("command", COMMANDS)
def test_help__names_the_command_its_argument_and_options(folder, command):
    assert folder.run(command, "--help") == 0
    assert f"bayesmv {command}" in folder.out
    assert "Model file (TOML)" in folder.out
    assert "--data" in folder.out
    assert folder.err == ""


def test_help__lists_all_commands_and_the_exit_codes(folder):
    assert folder.run("--help") == 0
    for command in COMMANDS:
        assert command in folder.out
    assert "2 bad input" in " ".join(folder.out.split())


def test_no_words__prints_the_help(folder):
    assert folder.run() == 0
    assert (folder.out.count("Usage: bayesmv"), folder.err) == (1, "")


def test_version(folder):
    assert folder.run("--version") == 0
    assert folder.out == f"bayesmv {bayesmv.__version__}\n"


def test_rank__tests_the_larger_model_against_the_smaller(folder):
    small = folder.path / "small.toml"
    small.write_text(MODEL.replace("us(trait)", "diag(trait)"), encoding="utf-8")
    assert folder.run("rank", folder.model, small) == 0
    assert folder.out.index("small") < folder.out.index("model against small: chi-square on 2 df")
    assert max(len(line) for line in folder.out.splitlines()) <= 100
    assert folder.run("rank", folder.model, small, "--json") == 0
    rows = json.loads(folder.out)["models"]
    assert [(row["model"], row["parameters"], row["df"]) for row in rows] == [("small", 7, None), ("model", 9, 2)]
    assert folder.run("rank", folder.model, small, "--csv") == 0
    assert pd.read_csv(io.StringIO(folder.out))["loglik"].tolist() == pytest.approx([row["loglik"] for row in rows])


def test_rank__raises_on_one_model(folder):
    assert folder.run("rank", folder.model) == cli.BAD_INPUT
    assert folder.err == "bayesmv: give at least two models to compare, not 1\n"


def test_check__says_records_levels_freedom_and_engine(folder):
    assert folder.run("check", folder.model) == 0
    assert "100 units, 200 records; likelihood engine: strata" in folder.out
    rows = [line.split() for line in folder.out.splitlines()]
    assert ["Block", "2", "×", "2", "5", "4", "5"] in rows
    assert ["Family", "2", "×", "2", "10", "9", "10"] in rows
    assert "beware: Block: 4 degrees of freedom for 2 × 2" in folder.out
    assert folder.err == ""


def test_check__json(folder):
    assert folder.run("check", folder.model, "--json") == 0
    answer = json.loads(folder.out)
    assert [(t["term"], t["levels"], t["freedom"], t["rank"]) for t in answer["terms"][:2]] == [
        ("Block", 5, 4, 2),
        ("Family", 10, 9, 2),
    ]
    assert answer["model"].startswith("bden + veloc ~ 1")
    assert answer["notes"] == []
    assert (answer["engine"]["engine"], answer["engine"]["reasons"]) == ("strata", {})
    assert 0.0 < answer["engine"]["evaluation"] < 1.0


def test_check__notes_units_left_out(folder):
    data = trial()
    data.loc[[3, 8], ["bden", "veloc"]] = np.nan
    folder.write(data=data)
    assert folder.run("check", folder.model, "--json") == 0
    assert json.loads(folder.out)["notes"] == ["2 units without a record of any trait were left out: 't3', 't8'"]


@pytest.mark.parametrize("command", ["check", "reml"])
def test_command__prints_at_most_100_columns(folder, command):
    folder.write(MODEL + GENETIC)
    assert folder.run(command, folder.model) == 0
    assert 40 < max(len(line) for line in folder.out.splitlines()) <= 100


def expected_fit(model=MODEL):
    spec = bayesmv.ModelSpec.from_formula(
        "bden + veloc ~ 1",
        random="us(trait):Block + us(trait):Family",
        unit="tree",
        genetic=bayesmv.Genetic(term="Family", relationship="half-sib"),
    )
    return bayesmv.fit_reml(bayesmv.build_design(spec, trial()))


def test_reml__table(folder):
    folder.write(MODEL + GENETIC)
    assert folder.run("reml", folder.model) == 0
    fit = expected_fit()
    rows = [line.split() for line in folder.out.splitlines()]
    estimate = fit.varcomp["component"][0]
    assert any(r[:3] == ["Block", "var", "bden"] and r[3] == f"{estimate:.7g}" for r in rows)
    assert f"logLik {fit.loglik:.3f}, 9 covariance parameters" in folder.out
    assert "heritability" in folder.out
    assert folder.err == ""


def test_reml__json(folder):
    folder.write(MODEL + GENETIC)
    assert folder.run("reml", folder.model, "--json") == 0
    answer, fit = json.loads(folder.out), expected_fit()
    assert answer["converged"] is True
    assert answer["loglik"] == pytest.approx(fit.loglik, rel=1e-9)
    got = pd.DataFrame(answer["varcomp"])
    assert list(got.columns) == list(fit.varcomp.columns)
    np.testing.assert_allclose(got["component"], fit.varcomp["component"], rtol=1e-9)
    heritability = next(r for r in answer["genetic"] if r["parameter"] == "heritability")
    assert (heritability["trait_i"], set(heritability)) == (
        "bden",
        {"parameter", "trait_i", "trait_j", "estimate", "std_error", "constraint"},
    )


def test_reml__csv(folder):
    assert folder.run("reml", folder.model, "--csv") == 0
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(folder.out)), expected_fit().varcomp, rtol=1e-9)


def test_reml__data_option_takes_the_place_of_the_model_s(folder):
    other = folder.path / "other.csv"
    trial(seed=9).to_csv(other, index=False)
    assert folder.run("reml", folder.model, "--csv") == 0
    own = folder.out
    assert folder.run("reml", folder.model, "--csv", "--data", other) == 0
    assert pd.read_csv(io.StringIO(folder.out))["component"][0] != pd.read_csv(io.StringIO(own))["component"][0]


def test_reml__pedigree_beside_the_model_file(folder):
    (folder.path / "ped.csv").write_text("id,sire,dam\n" + "".join(f"F{i},,\n" for i in range(10)))
    folder.write(
        MODEL.replace("us(trait):Family", "us(trait):vm(Family, A)") + '[relationships.A]\npedigree = "ped.csv"\n'
    )
    assert folder.run("reml", folder.model, "--csv") == 0
    # Founders are unrelated: the same answer as without a pedigree.
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(folder.out)), expected_fit().varcomp, rtol=1e-6)


def test_simulate__same_layout_same_missing_cells_new_values(folder):
    data = trial()
    data.loc[5, ["bden", "veloc"]] = np.nan
    data.loc[9, "veloc"] = np.nan
    folder.write(data=data)
    output = folder.path / "simulated.csv"
    assert folder.run("simulate", folder.model, "--output", output, "--seed", 3) == 0
    left_out = "note: 1 units without a record of any trait were left out: 't5'\n"
    assert folder.err == f"{left_out}wrote 99 rows to {output}\n"
    simulated = pd.read_csv(output)
    kept = pd.read_csv(folder.csv).drop(5).reset_index(drop=True)
    labels = ["Block", "Family", "tree", "age"]
    pd.testing.assert_frame_equal(simulated[labels], kept[labels])
    assert simulated["veloc"].isna().tolist() == kept["veloc"].isna().tolist()
    assert (simulated["bden"] != kept["bden"]).all()
    again = folder.path / "again.csv"
    assert folder.run("simulate", folder.model, "-o", again, "--seed", 3) == 0
    assert again.read_text() == output.read_text()


TINY = ("--draws", 30, "--tune", 50, "--chains", 2, "--seed", 3)


SHIPPED = Path(__file__).resolve().parents[2] / "models"


def test_curves__table_picture_and_csv(folder):
    model, picture = SHIPPED / "growth_regression.toml", folder.path / "curves.png"
    assert folder.run("curves", model, "--at", "20,140", "--plot", picture) == 0
    shown = folder.out
    assert "Along the covariate" in shown
    assert picture.stat().st_size > 0
    assert folder.run("curves", model, "--at", "20,140", "--csv") == 0
    table = pd.read_csv(io.StringIO(folder.out))
    expected = bayesmv.trajectory(bayesmv.fit_reml(bayesmv.load_design(model)), at=[20.0, 140.0])
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_curves__of_environments_as_json(folder):
    assert folder.run("curves", SHIPPED / "sites_us.toml", "--json") == 0
    rows = pd.DataFrame(json.loads(folder.out)["curves"])
    assert rows[rows["parameter"] == "heritability"]["at"].tolist() == ["A", "B", "C", "D"]


def test_curves__of_a_posterior(folder):
    design = bayesmv.load_design(SHIPPED / "growth_regression.toml")
    trace = trace_of(design, reml=bayesmv.fit_reml(design))
    trace.to_netcdf(folder.path / "draws.nc")
    draws = folder.path / "draws.nc"
    code = folder.run("curves", SHIPPED / "growth_regression.toml", "--at", "80", "--posterior", draws, "--csv")
    assert code == cli.NOT_CONVERGED  # a hundred draws, and the exit code says so
    table = pd.read_csv(io.StringIO(folder.out))
    np.testing.assert_allclose(table["median"], bayesmv.trajectory(trace, at=[80.0])["median"])


def test_curves__model_without_covariates(folder):
    folder.write(MODEL + GENETIC)
    assert folder.run("curves", folder.model) == cli.BAD_INPUT
    assert "the term 'Family' has no covariates" in folder.err


@pytest.mark.parametrize("model", ["calves_maternal", "pens_social", "sites_us"])
def test_simulate__terms_with_members_or_environments(folder, model):
    out = folder.path / "new.csv"
    assert folder.run("simulate", SHIPPED / f"{model}.toml", "-o", out) == 0
    spec = bayesmv.ModelSpec.from_file(SHIPPED / f"{model}.toml")
    before, after = bayesmv.load_dataset(spec.data.removeprefix("dataset:")), pd.read_csv(out)
    assert list(after.columns) == list(before.columns)
    trait = spec.traits[0]
    assert 0.8 < after[trait].std() / before[trait].std() < 1.25
    assert not np.allclose(after[trait], before[trait])


@pytest.mark.slow
def test_sample__table_and_file(folder):
    folder.write(MODEL + GENETIC)
    output = folder.path / "draws.nc"
    code = folder.run("sample", folder.model, *TINY, "--effects", "-o", output)
    assert code == cli.NOT_CONVERGED  # 60 draws cannot pass
    assert "Posterior (co)variances" in folder.out
    assert "NOT converged: R-hat" in folder.out
    assert "heritability" in folder.out
    assert max(len(line) for line in folder.out.splitlines()) <= 100
    assert folder.err == f"wrote the draws to {output}\n"
    trace = bayesmv.load_posterior(str(output))
    assert trace["posterior"].to_dataset()["Family_effect"].shape == (2, 30, 10, 2)
    assert (trace.attrs["seed"], trace.attrs["tune"]) == (3, 50)
    trace.close()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "compare"])
def test_sampling_commands__json_and_csv_hold_the_same(folder, command):
    assert folder.run(command, folder.model, *TINY, "--json") == cli.NOT_CONVERGED
    answer = json.loads(folder.out)
    assert answer["converged"] is False
    assert folder.run(command, folder.model, *TINY, "--csv") == cli.NOT_CONVERGED
    table = pd.read_csv(io.StringIO(folder.out))
    table["constraint"] = table["constraint"].astype(object).fillna("")  # nothing to say of it
    records = pd.DataFrame(answer["varcomp" if command == "sample" else "comparison"])
    pd.testing.assert_frame_equal(table, records, rtol=1e-9, check_dtype=False)


@pytest.mark.slow
def test_sample__min_ess_goes_on_until_it_converges(folder):
    assert folder.run("sample", folder.model, *TINY, "--chains", 4, "--min-ess", 500) == 0
    assert "\nconverged: R-hat" in folder.out


@pytest.mark.slow
def test_compare__table_and_picture(folder):
    folder.write(MODEL + GENETIC)
    picture = folder.path / "picture.png"
    assert folder.run("compare", folder.model, *TINY, "--plot", picture) == cli.NOT_CONVERGED
    assert folder.out.startswith("A small trial: bden + veloc ~ 1")
    for words in ("REML beside the posterior", "Genetic parameters of Family (half-sib), REML", "half-Student-t(3, 1)"):
        assert words in folder.out
    assert max(len(line) for line in folder.out.splitlines()) <= 100
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert folder.err == f"wrote the picture to {picture}\n"


@pytest.mark.slow
def test_compare__converged_run_exits_with_0(folder):
    assert folder.run("compare", folder.model, "--seed", 1, "--csv") == 0


# ---------------------------------------------------------------- in a process of its own


def bayesmv_process(*words, **options):
    command = [Path(sys.executable).with_name("bayesmv"), *(str(w) for w in words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_process__reml(folder):
    done = bayesmv_process("reml", folder.model, "--csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("term,trait_i,trait_j,component")


def test_process__malformed(folder):
    done = bayesmv_process("check", folder.path / "absent.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bayesmv: no model file '{folder.path / 'absent.toml'}'\n"


@pytest.mark.slow
def test_process__reader_that_stops_early(folder):
    """`bayesmv … | head -1` ends in silence."""
    done = subprocess.run(
        f"{Path(sys.executable).with_name('bayesmv')} reml {folder.model} --csv | head -c 5",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("term,", "")


# ---------------------------------------------------------------- malformed inputs


def text(**changes: str | None) -> str:
    """Return the model with lines replaced; None takes a line out, `more` is added at the end."""
    more = changes.pop("more", "")
    lines = [line for line in MODEL.splitlines() if line.split(" =")[0] not in changes]
    lines += [f"{key} = {value}" for key, value in changes.items() if value is not None]
    return "\n".join(lines) + "\n" + more


def with_cell(column: str, value: object, rows: object = 3) -> Callable[[], pd.DataFrame]:
    """Return a maker of the trial with cells replaced."""

    def make() -> pd.DataFrame:
        data = trial().astype({column: object})
        data.loc[rows, column] = value
        return data

    return make


def raw(content: bytes) -> Callable[[Folder], None]:
    """Return a change that replaces the data file."""
    return lambda folder: folder.csv.write_bytes(content)


def doubled_column(folder: Folder) -> None:
    lines = folder.csv.read_text().splitlines()
    folder.csv.write_text("\n".join([lines[0] + ",veloc", *(line + ",1.0" for line in lines[1:])]) + "\n")


ALL = slice(None)

#: Model text → words of the message.
MODELS: dict[str, tuple[str, str]] = {
    "bad TOML": ('traits = ["bden"', "is not valid TOML"),
    "TOML entry twice": (MODEL + 'fixed = "1"\n', "is not valid TOML"),
    "empty file": ("", "names no traits"),
    "unknown entry": (text(rando='"us(trait):Block"'), "unknown entry 'rando'"),
    "no traits": (text(traits=None), "names no traits"),
    "empty list of traits": (text(traits="[]"), "needs at least one trait"),
    "traits as a string": (text(traits='"bden"'), "'traits'"),
    "traits as numbers": (text(traits="[1, 2]"), "must be a list of column names"),
    "trait twice": (text(traits='["bden", "bden"]'), "'bden' is named twice"),
    "fixed as a number": (text(fixed="1"), "'fixed'"),
    "unknown structure": (text(random='"ux(trait):Block"'), "unknown covariance structure 'ux'"),
    "unknown residual structure": (text(residual='"ux(trait):units"'), "unknown covariance structure 'ux'"),
    "residual without units": (text(residual='"us(trait):Block"'), "the residual 'us(trait):Block'"),
    "misspelt trait": (text(traits='["bdem", "veloc"]'), "the trait 'bdem' is not a column"),
    "misspelt factor": (text(random='"us(trait):Blok"'), "the random factor 'Blok' is not a column"),
    "misspelt covariate": (text(fixed='"1 + agee"'), "'agee', which is not a column"),
    "misspelt unit": (text(unit='"tre"'), "the unit 'tre' is not a column"),
    "bad formula": (text(fixed='"1 + age *"'), "'1 + age *' is not understood: its end at"),
    "fixed term empty": (text(fixed='"1 + + age"'), "empty fixed term"),
    "a response in the fixed effects": (text(fixed='"bden ~ age"'), "bden ~ age"),
    "fixed effects with unknown function": (text(fixed='"1 + nosuch(age)"'), "nosuch"),
    "random term without structure": (text(random='"Block"'), "does not say how it acts on the traits"),
    "random term empty": (text(random='"us(trait):Block + "'), "empty random term"),
    "at() with unknown trait": (text(random='"at(trait, height):Block"'), "'height', which is not a trait"),
    "fixed at() with unknown trait": (text(fixed='"1 + at(trait, height):age"'), "'height', which is not a trait"),
    "bracket missing": (text(random='"us(trait:Block"'), "a ')' is missing"),
    "bracket too many": (text(random='"us(trait)):Block"'), "a ')' too many"),
    "two terms of one name": (
        text(random='"us(trait):Block + diag(trait):Block"'),
        "two random terms are called 'Block'",
    ),
    "vm() without relationship": (
        text(random='"us(trait):vm(Family, A)"'),
        "the relationship 'A', which was not given",
    ),
    "vm() with one argument": (text(random='"us(trait):vm(Family)"'), "vm(column, relationship)"),
    "genetic term unknown": (text(more='[genetic]\nterm = "Famly"\n'), "the genetic term 'Famly'"),
    "genetic without term": (text(more='[genetic]\nrelationship = "half-sib"\n'), "[genetic] needs 'term'"),
    "relationship word unknown": (
        text(more='[genetic]\nterm = "Family"\nrelationship = "halfsib"\n'),
        "unknown relationship 'halfsib'",
    ),
    "phenotypic unknown": (
        text(more='[genetic]\nterm = "Family"\nphenotypic = ["Famly"]\n'),
        "'phenotypic' names 'Famly'",
    ),
    "phenotypic not a list": (
        text(more='[genetic]\nterm = "Family"\nphenotypic = "Family"\n'),
        "'phenotypic' in [genetic] must be a list",
    ),
    "prior for unknown term": (text(more="[priors.Famly]\nscale = 1\n"), "a prior is given for 'Famly'"),
    "prior with unknown key": (text(more="[priors.Family]\nshape = 1\n"), "unknown key 'shape' in the prior of Family"),
    "prior with negative scale": (text(more="[priors.Family]\nscale = -1\n"), "nu > 0 and scale > 0"),
    "prior with eta 0": (text(more="[priors.Family]\neta = 0\n"), "eta > 0"),
    "prior with infinite nu": (text(more="[priors.Family]\nnu = inf\n"), "nu > 0"),
    "prior that is not a number": (text(more="[priors.Family]\neta = nan\n"), "eta > 0"),
    "prior as a string": (text(more='[priors.Family]\nscale = "1"\n'), "scale in the prior of Family must be a number"),
    "prior not a table": (text(more='[priors]\nFamily = "flat"\n'), "[priors.Family] must be a table"),
    "pedigree missing": (text(more='[relationships.A]\npedigree = "no.csv"\n'), "no data file"),
    "relationship without pedigree": (
        text(more='[relationships.A]\nid = "tree"\n'),
        "[relationships.A] needs one of 'pedigree', 'markers'",
    ),
    "no data named": (text(data=None), "names no data"),
    "data file missing": (text(data='"nowhere.csv"'), "no data file"),
    "data set unknown": (text(data='"dataset:cantyy"'), "no data set 'cantyy'"),
    "units as factor": (text(random='"us(trait):units"'), "the random factor 'units' is not a column"),
}

#: Model text, data → words of the message.
DATA: dict[str, tuple[str, Callable[[], pd.DataFrame], str]] = {
    "strings in a trait": (MODEL, with_cell("bden", "dead"), "the trait 'bden' is not numeric: 'dead' in 1 rows"),
    "infinite trait": (MODEL, with_cell("bden", np.inf), "the trait 'bden' is infinite"),
    "constant trait": (MODEL, with_cell("veloc", 4.0, ALL), "the trait 'veloc' is constant"),
    "trait never recorded": (MODEL, with_cell("veloc", np.nan, ALL), "'veloc' was not recorded on any unit"),
    "a single level": (MODEL, with_cell("Block", "B1", ALL), "'Block' has a single level"),
    "missing level": (MODEL, with_cell("Block", np.nan), "'Block' is missing in 1 rows"),
    "two identical traits": (MODEL, lambda: trial().assign(veloc=trial()["bden"] / 50), "take one of them out"),
    "duplicated units": (MODEL, with_cell("tree", "t4"), "the unit column 'tree' names 't4' more than once"),
    "missing unit": (MODEL, with_cell("tree", np.nan), "the unit column 'tree' has missing values in line 5"),
    "collinear covariate": (
        text(fixed='"1 + age + years"'),
        lambda: trial().assign(years=2 * trial()["age"]),
        "'years' is a linear combination",
    ),
    "constant covariate": (text(fixed='"1 + age"'), with_cell("age", 7.0, ALL), "linear combination"),
    "missing covariate": (text(fixed='"1 + age"'), with_cell("age", np.nan), "'age' is missing in 1 rows"),
    "infinite covariate": (text(fixed='"1 + age"'), with_cell("age", np.inf), "not finite"),
    "fewer records than parameters": (
        MODEL,
        lambda: trial().iloc[[0, 2, 41]],
        "fewer than the 9 (co)variance parameters",
    ),
    "fixed effects that fit exactly": (
        text(fixed='"1 + age"'),
        lambda: trial().assign(bden=3.0 + 2.0 * trial()["age"]),
        "fit the trait 'bden' exactly",
    ),
    "a fixed effect for every unit": (text(fixed='"1 + tree"'), trial, "nothing is left for variances"),
    "header only": (MODEL, lambda: trial().iloc[:0], "the data have no rows"),
}

#: Change of the folder → words of the message.
FILES: dict[str, tuple[Callable[[Folder], None], str]] = {
    "duplicate column names": (doubled_column, "two columns called 'veloc'"),
    "empty CSV": (raw(b""), "is empty; give a header and rows"),
    "blank CSV": (raw(b"\n\n\n"), "is empty; give a header and rows"),
    "binary data": (raw(bytes(range(256)) * 20), "cannot read"),
    "a picture as data": (raw(b"\x89PNG\r\n\x1a\n" + bytes(range(256))), "cannot read"),
    "ragged CSV": (raw(b"tree,Block,Family,bden,veloc\n1,2,3,4,5\n1,2,3,4,5,6,7\n"), "cannot read"),
    "rows longer than the header": (
        raw(b"tree,Block,Family,bden,veloc\n1,2,3,4,5,6\n2,2,3,4,7,6\n"),
        "Expected 5 fields in line 2, saw 6",
    ),
    "semicolons or commas": (raw(b"tree;Block,Family;bden\n1;2,3;4\n"), "may be separated in more than one way"),
    "data are one line of something": (raw(b'{"user": "x", "private_key": "k"}\n'), "is not a table"),
    "data are lines of something": (raw(b"-----BEGIN KEY-----\nMIIE\nabcd\n"), "is not a table"),
    "data are a folder": (lambda folder: (folder.csv.unlink(), folder.csv.mkdir()), "cannot read"),
    "model is a folder": (lambda folder: (folder.model.unlink(), folder.model.mkdir()), "cannot read the model file"),
    "model is binary": (lambda folder: folder.model.write_bytes(bytes(range(256))), "cannot read the model file"),
    "model is missing": (lambda folder: folder.model.unlink(), "no model file"),
    "pedigree with a loop": (
        lambda folder: (
            (folder.path / "ped.csv").write_text("id,sire,dam\nF0,F1,\nF1,F0,\n"),
            folder.model.write_text(
                text(random='"us(trait):vm(Family, A)"', more='[relationships.A]\npedigree = "ped.csv"\n')
            ),
        ),
        "F0",
    ),
    "pedigree without columns": (
        lambda folder: (
            (folder.path / "ped.csv").write_text("animal,father,mother\nF0,,\n"),
            folder.model.write_text(
                text(random='"us(trait):vm(Family, A)"', more='[relationships.A]\npedigree = "ped.csv"\n')
            ),
        ),
        "'id'",
    ),
    "levels that are not in the pedigree": (
        lambda folder: (
            (folder.path / "ped.csv").write_text("id,sire,dam\nF0,,\nF1,,\n"),
            folder.model.write_text(
                text(random='"us(trait):vm(Family, A)"', more='[relationships.A]\npedigree = "ped.csv"\n')
            ),
        ),
        "F2",
    ),
}

#: Words of the command, {folder} and {model} filled in → words of the message.
WORDS: dict[str, tuple[str, str]] = {
    "draws 0": ("sample {model} --draws 0", "Invalid value for '--draws'"),
    "chains 0": ("sample {model} --chains 0", "Invalid value for '--chains'"),
    "tune 0": ("compare {model} --tune 0", "Invalid value for '--tune'"),
    "cores -1": ("compare {model} --cores -1", "Invalid value for '--cores'"),
    "min-ess 0": ("sample {model} --min-ess 0", "Invalid value for '--min-ess'"),
    "negative seed": ("sample {model} --seed -1", "'--seed'"),
    "seed too large": ("compare {model} --seed 99999999999999999999999", "'--seed'"),
    "negative seed of simulate": ("simulate {model} -o {folder}/s.csv --seed -1", "'--seed'"),
    "sample: output in no folder": ("sample {model} -o {folder}/no/draws.nc", "no/draws.nc"),
    "sample: output is a folder": ("sample {model} -o {folder}", "cannot write"),
    "compare: output in no folder": ("compare {model} -o {folder}/no/draws.nc", "no/draws.nc"),
    "simulate: output in no folder": ("simulate {model} -o {folder}/no/s.csv", "no/s.csv"),
    "simulate: output is a folder": ("simulate {model} -o {folder}", "cannot write"),
    "compare: picture in no folder": ("compare {model} --plot {folder}/no/p.png", "no/p.png"),
    "compare: picture of unknown kind": ("compare {model} --plot {folder}/p.docx", "docx"),
    "compare: picture without ending": ("compare {model} --plot {folder}/picture", "png"),
    "data option missing file": ("check {model} --data {folder}/no.csv", "no data file"),
    "both JSON and CSV": ("reml {model} --json --csv", "--json or --csv, not both"),
    "no model": ("check", "Missing argument 'model'; see bayesmv check --help"),
    "unknown command": ("chek {model}", "chek"),
    "unknown option": ("reml {model} --jsn", "--jsn"),
    "draws not a number": ("sample {model} --draws many", "Invalid value for '--draws'"),
    "simulate without output": ("simulate {model}", "--output"),
    "two models": ("check {model} {model}", "unexpected extra argument"),
}


def assert_one_line(folder: Folder, code: int, words: str) -> None:
    assert code == 2, folder.err + folder.out
    assert folder.out == ""
    assert folder.err.startswith("bayesmv: "), folder.err
    assert folder.err.count("\n") == 1, folder.err
    assert folder.err.endswith("\n")
    assert words in folder.err


@pytest.mark.parametrize("name", MODELS)
def test_malformed__model(folder, name):
    model, words = MODELS[name]
    folder.write(model)
    assert_one_line(folder, folder.run("check", folder.model), words)


@pytest.mark.parametrize("name", DATA)
def test_malformed__data(folder, name):
    model, data, words = DATA[name]
    folder.write(model, data())
    assert_one_line(folder, folder.run("reml", folder.model), words)


@pytest.mark.parametrize("name", FILES)
def test_malformed__files(folder, name):
    change, words = FILES[name]
    change(folder)
    assert_one_line(folder, folder.run("check", folder.model), words)


@pytest.mark.parametrize("name", WORDS)
def test_malformed__words(folder, name):
    command, words = WORDS[name]
    # Found before any draw is made.
    folder.monkeypatch.setattr("bayesmv.sampling.sample.draw", lambda *_: pytest.fail("sampled before it looked"))
    code = folder.run(*(word.format(model=folder.model, folder=folder.path) for word in command.split()))
    assert_one_line(folder, code, words)
    assert sorted(p.name for p in folder.path.iterdir()) == ["model.toml", "trial.csv"]
