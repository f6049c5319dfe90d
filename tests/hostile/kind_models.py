"""Model files: malformed TOML, wrong types, odd names, markup, huge numbers, deep nesting."""

from __future__ import annotations

from harness import CSV, MODEL, Case, Result, model

#: A value of the wrong type for each key, and some that are no value of any.
_WRONG = {
    "number": "1",
    "string": '"x"',
    "list": "[1, 2]",
    "table": "{a = 1}",
    "truth": "true",
    "date": "2024-01-01",
    "nan": "nan",
}
_STRINGS = ("data", "unit", "fixed", "random", "residual", "weights", "name", "title")
_TABLES = ("genetic", "relationships", "priors", "matrices", "constraints")


def _wrong_types() -> list[Case]:
    cases = [
        Case(name=f"{key} is a {kind}", files={"model.toml": model(**{key: value})}, says=key)
        for key in _STRINGS
        for kind, value in _WRONG.items()
        if kind != "string"
    ]
    cases += [
        Case(name=f"traits is a {kind}", files={"model.toml": model(traits=value)}, says="trait")
        for kind, value in _WRONG.items()
    ]
    return cases + [
        Case(name=f"{key} is a {kind}", files={"model.toml": f"{key} = {value}\n{MODEL}"}, says=key)
        for key in _TABLES
        for kind, value in _WRONG.items()
        if kind != "table"
    ]


def _inner(name: str, more: str, says: str = "", codes: tuple[int, ...] = (2,), **changes: str) -> Case:
    return Case(name=name, files={"model.toml": model(more, **changes)}, says=says, codes=codes)


def _renamed(name: str, *, trait: str | None = None, level: str | None = None, command: str = "reml") -> Case:
    """A case with a trait or a level of an odd name, which is to come back as it is."""
    csv, text = CSV, MODEL
    quoted = None
    if trait is not None:
        quoted = '"' + trait.replace('"', '""') + '"'
        csv = csv.replace("bden", quoted, 1)
        text = model(traits=f"['''{trait}''', 'veloc']")
    if level is not None:
        csv = csv.replace(",m\n", f",{level}\n").replace(",f\n", ",!\n")
        text = model(fixed='"1 + sex"')
    shown = trait if trait is not None else level

    def right(result: Result) -> str | None:
        return None if shown in result.out else f"{shown!r} is not printed as it is"

    return Case(
        name=name,
        words=f"{command} {{f}}/model.toml --csv --table {'fixed' if command == 'reml' else 'traits'}",
        files={"model.toml": text, "trial.csv": csv},
        codes=(0,),
        right=right,
    )


_CORH = '"us(trait):Block + corh(trait):Family"'

ODD = [
    "[/]",
    "[bold]x[/bold]",
    "sex[f]",
    ":smile:",
    "$x_1$",
    "$",
    "a_b_c",
    "{x}",
    "%s",
    "π²",
    "木材",
    "ä",
    "a b",
    "x" * 120,
]

CASES = [
    *_wrong_types(),
    *(_renamed(f"trait called {name[:20]}", trait=name) for name in ODD),
    *(_renamed(f"level called {name[:20]}", level=name) for name in ODD),
    Case(name="empty file", files={"model.toml": ""}, says="names no traits"),
    Case(name="blank file", files={"model.toml": "\n \n\n"}, says="names no traits"),
    Case(name="no file", files={"model.toml": None}, says="no model file"),
    Case(name="a folder", words="check {f}", says="cannot read the model file"),
    Case(name="binary", files={"model.toml": bytes(range(256))}, says="cannot read the model file"),
    Case(name="NUL", files={"model.toml": MODEL + "\0"}),
    Case(name="UTF-16", files={"model.toml": MODEL.encode("utf-16")}, says="UTF"),
    Case(name="Latin-1", files={"model.toml": (MODEL + 'title = "Höhe"\n').encode("latin-1")}, says="UTF"),
    Case(name="mark at the beginning", files={"model.toml": b"\xef\xbb\xbf" + MODEL.encode()}, codes=(0,)),
    Case(name="carriage returns", files={"model.toml": MODEL.replace("\n", "\r\n")}, codes=(0,)),
    Case(name="lone carriage return", files={"model.toml": MODEL.replace("\n", "\r")}, codes=(0, 2)),
    Case(name="unclosed list", files={"model.toml": 'traits = ["bden"'}, says="is not valid TOML"),
    Case(name="unclosed string", files={"model.toml": 'data = "x'}, says="is not valid TOML"),
    Case(name="entry twice", files={"model.toml": MODEL + 'fixed = "1"\n'}, says="is not valid TOML"),
    Case(name="YAML", files={"model.toml": "traits:\n  - bden\n"}, says="is not valid TOML"),
    Case(name="JSON", files={"model.toml": '{"traits": ["bden"]}'}, says="is not valid TOML"),
    Case(name="data as a model", words="check {f}/trial.csv", says="is not valid TOML"),
    Case(name="deep lists", files={"model.toml": MODEL + "x = " + "[" * 5000 + "]" * 5000}, says="nested|unknown"),
    Case(
        name="deep tables",
        files={"model.toml": MODEL + "[" + ".".join(["a"] * 3000) + "]\nb = 1\n"},
        says="nested|unknown",
    ),
    Case(
        name="deep inline tables",
        files={"model.toml": MODEL + "x = " + "{a = " * 900 + "1" + "}" * 900},
        says="nested|unknown",
    ),
    Case(name="huge integer", files={"model.toml": MODEL + "weights = " + "9" * 5000}, says="weights|TOML"),
    Case(name="large integer", files={"model.toml": MODEL + "weights = " + "9" * 400}, says="weights"),
    Case(name="5,000 traits", files={"model.toml": model(traits=str([f"t{i}" for i in range(5000)]))}, says="trait"),
    Case(
        name="5,000 levels of relationships",
        files={"model.toml": MODEL + "".join(f'[relationships.r{i}]\npedigree = "no.csv"\n' for i in range(5000))},
        says="no.csv",
    ),
    Case(name="long unknown key", files={"model.toml": MODEL + "x" * 100000 + " = 1\n"}, says="unknown entry"),
    Case(name="markup in an unknown key", files={"model.toml": MODEL + '"[/]" = 1\n'}, says=r"unknown entry '\[/\]'"),
    Case(
        name="escapes in an unknown key",
        files={"model.toml": MODEL + '"\\u001b[31m" = 1\n'},
        says=r"unknown entry '\\x1b",
    ),
    Case(name="line breaks in a trait", files={"model.toml": model(traits='["a\\nb", "veloc"]')}, says="a"),
    Case(name="empty trait", files={"model.toml": model(traits='["", "veloc"]')}, says="empty trait"),
    Case(name="trait twice", files={"model.toml": model(traits='["bden", "bden"]')}, says="twice"),
    Case(name="no traits", files={"model.toml": model(traits="[]")}, says="at least one trait"),
    Case(name="nested traits", files={"model.toml": model(traits='[["bden"], "veloc"]')}, says="column names"),
    Case(
        name="a factor as a trait",
        files={"model.toml": model(traits='["sex", "veloc"]')},
        says="not numeric|not a number",
    ),
    Case(
        name="a unit as a trait",
        files={"model.toml": model(traits='["tree", "veloc"]')},
        says="not numeric|not a number",
    ),
    Case(name="trait also in the fixed effects", files={"model.toml": model(fixed='"1 + veloc"')}, codes=(0, 2)),
    Case(name="trait as a random factor", files={"model.toml": model(random='"us(trait):veloc"')}, codes=(0, 2)),
    Case(name="path with a NUL as data", files={"model.toml": model(data='"a\\u0000b"')}),
    Case(name="long path as data", files={"model.toml": model(data='"' + "a/" * 3000 + '"')}),
    Case(name="a folder as data", files={"model.toml": model(data='"."')}, says="cannot read"),
    Case(name="a device as data", files={"model.toml": model(data='"/dev/null"')}),
    Case(
        name="a secret file as data",
        files={"model.toml": model(data='"/etc/passwd"')},
        right=lambda r: "shows the content" if "/bin/" in r.err else None,
    ),
    Case(
        name="a secret file as pedigree",
        files={"model.toml": model('[relationships.A]\npedigree = "/etc/passwd"\n')},
        right=lambda r: "shows the content" if "/bin/" in r.err else None,
    ),
    Case(name="the model as data", files={"model.toml": model(data='"model.toml"')}),
    Case(
        name="an address as data",
        files={"model.toml": model(data='"http://localhost:1/x.csv"')},
        says="no data file|cannot read",
    ),
    Case(
        name="an address of cloud storage as data",
        files={"model.toml": model(data='"s3://bucket/x.csv"')},
        says="no data file|cannot read",
    ),
    Case(name="unknown data set", files={"model.toml": model(data='"dataset:../canty"')}, says="no data set"),
    Case(name="empty data set", files={"model.toml": model(data='"dataset:"')}, says="no data set"),
    _inner("prior of an unknown term", "[priors.Famly]\nscale = 1\n", "Famly"),
    _inner("prior with an unknown key", "[priors.Family]\nshape = 1\n", "shape"),
    *(
        _inner(f"prior with {key} = {value}", f"[priors.Family]\n{key} = {value}\n", f"{key}|Family")
        for key in ("nu", "scale", "eta")
        for value in ("-1", "0", "inf", "nan", '"1"', "true", "[1]", "1e400")
    ),
    _inner("genetic without a term", '[genetic]\nrelationship = "half-sib"\n', "term"),
    _inner("genetic of an unknown term", '[genetic]\nterm = "Famly"\n', "Famly"),
    _inner("genetic of the residual", '[genetic]\nterm = "Residual"\n', "Residual"),
    _inner("genetic term a number", "[genetic]\nterm = 1\n", "genetic"),
    _inner("genetic relationship unknown", '[genetic]\nterm = "Family"\nrelationship = "cousins"\n', "cousins"),
    _inner("genetic relationship a list", '[genetic]\nterm = "Family"\nrelationship = ["half-sib"]\n', "half-sib"),
    _inner("phenotypic of unknown terms", '[genetic]\nterm = "Family"\nphenotypic = ["x"]\n', "x"),
    _inner("phenotypic empty", '[genetic]\nterm = "Family"\nphenotypic = []\n', "phenotypic"),
    _inner("phenotypic of numbers", '[genetic]\nterm = "Family"\nphenotypic = [1]\n', "phenotypic"),
    _inner("matrix that is not square", "[matrices]\nM = [[1, 2]]\n", "M"),
    _inner("matrix that is ragged", "[matrices]\nM = [[1, 2], [1]]\n", "M"),
    _inner("matrix of words", '[matrices]\nM = [["a", "b"], ["c", "d"]]\n', "M"),
    _inner("matrix of tables", "[matrices]\nM = [{a = 1}]\n", "M"),
    _inner("matrix that is empty", "[matrices]\nM = []\n", "M"),
    _inner("matrix that is a number", "[matrices]\nM = 1\n", "M"),
    _inner("matrix of infinities", "[matrices]\nM = [[inf, 0], [0, 1]]\n", "M"),
    _inner("matrix that is asymmetric", "[matrices]\nM = [[1, 0.5], [0, 1]]\n", "M"),
    _inner("matrix that is not positive", "[matrices]\nM = [[1, 2], [2, 1]]\n", "M", random='"fixed(trait, M):Block"'),
    _inner("matrix that is zero", "[matrices]\nM = [[0, 0], [0, 0]]\n", "M", random='"scaled(trait, M):Block"'),
    _inner("matrix of another size", "[matrices]\nM = [[1]]\n", "M", random='"fixed(trait, M):Block"'),
    _inner("matrix that is not there", "", "M", random='"fixed(trait, M):Block"'),
    _inner("constraint of an unknown term", "[constraints.x]\ncor = 0.5\n", "x", random=_CORH),
    _inner("constraint of an unknown parameter", "[constraints.Family]\nx = 0.5\n", "x", random=_CORH),
    _inner("constraint of an unknown partner", '[constraints.Family]\n"sd[bden]" = "x"\n', "x", random=_CORH),
    _inner("constraint on itself", '[constraints.Family]\n"sd[bden]" = "sd[bden]"\n', "sd", random=_CORH),
    _inner(
        "constraints in a circle: equal all the same",
        '[constraints.Family]\n"sd[bden]" = "sd[veloc]"\n"sd[veloc]" = "sd[bden]"\n',
        codes=(0,),
        random=_CORH,
    ),
    *(
        _inner(f"constraint {value}", f'[constraints.Family]\n"sd[bden]" = {value}\n', "sd|Family", random=_CORH)
        for value in ("nan", "inf", "-1", "true", "[1]", "2024-01-01")
    ),
    _inner("correlation held at 2", "[constraints.Family]\ncor = 2\n", "cor", random=_CORH),
    _inner("correlation held at nan", "[constraints.Family]\ncor = nan\n", "cor", random=_CORH),
    _inner("relationship without a pedigree", '[relationships.A]\nid = "tree"\n', "pedigree"),
    _inner("relationship with an unknown key", '[relationships.A]\npedigree = "p.csv"\nx = "y"\n', "relationships.A"),
    _inner("relationship of a number", "[relationships.A]\npedigree = 1\n", "relationships.A"),
    _inner("relationship without a file", '[relationships.A]\npedigree = "no.csv"\n', "no.csv"),
    _inner("relationship of an unknown data set", '[relationships.A]\npedigree = "dataset:x"\n', "x"),
]
