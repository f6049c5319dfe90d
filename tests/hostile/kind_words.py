"""Words of the command line: every option with values that it cannot take."""

from __future__ import annotations

from harness import Case, model

_SAMPLER = ("sample", "compare")
_BAD_COUNT = ("0", "-1", "1.5", "many", "nan", "1e3", "99999999999999999999999999", "''", "--json")


def _bad(words: str, says: str = "", **options: object) -> Case:
    return Case(name=f"bayesmv {words}"[:100], words=words, says=says, **options)


_REGRESSION = {
    "model.toml": model('[genetic]\nterm = "Family"\n', random='"us(leg(age, 1)):Family"', traits='["bden"]')
}

CASES = [
    *(
        _bad(f"{command} {{f}}/model.toml --{option} {value}", option)
        for command in _SAMPLER
        for option in ("draws", "tune", "chains", "cores")
        for value in _BAD_COUNT[:7]
    ),
    *(
        _bad(f"sample {{f}}/model.toml --seed {value}", "seed")
        for value in ("-1", "1.5", "x", "99999999999999999999999")
    ),
    *(
        _bad(f"sample {{f}}/model.toml --target-accept {value}", "target-accept")
        for value in ("0", "1", "-0.5", "1.5", "nan", "inf", "x")
    ),
    *(_bad(f"compare {{f}}/model.toml --min-ess {value}", "min.ess") for value in ("0", "-5", "nan", "inf", "x")),
    *(
        _bad(f"{command} {{f}}/model.toml --table nosuch", "no table 'nosuch'.*tables")
        for command in ("check", "reml", "sample", "compare", "rank", "curves")
    ),
    *(
        _bad(f"{command} {{f}}/model.toml --json --csv", "not both")
        for command in ("check", "reml", "sample", "compare", "rank", "curves")
    ),
    *(
        _bad(f"{command} {{f}}/no.toml", "no model file")
        for command in ("check", "reml", "sample", "compare", "curves")
    ),
    *(
        _bad(f"{command} {{f}}/model.toml --data {{f}}/no.csv", "no data file")
        for command in ("check", "reml", "sample", "compare", "curves")
    ),
    *(_bad(f"{command}", "Missing argument") for command in ("check", "reml", "sample", "compare", "rank", "curves")),
    *(_bad(f"{command} {{f}}/model.toml --nosuch", "--nosuch") for command in ("check", "reml", "sample", "rank")),
    _bad("chek {f}/model.toml", "chek"),
    _bad("--nosuch", "--nosuch"),
    _bad("[/]", r"\[/\]"),
    _bad("check [/]", r"\[/\]"),
    _bad("check [bold]x[/bold].toml", r"\[bold\]x\[/bold\]"),
    _bad("check {f}/model.toml {f}/model.toml", "unexpected extra argument"),
    _bad("rank {f}/model.toml", "at least two models"),
    _bad("rank {f}/model.toml {f}/no.toml", "no model file"),
    _bad("simulate {f}/model.toml", "--output"),
    _bad("simulate {f}/model.toml -o {f}/s.csv --seed -1", "seed"),
    _bad("models copy nosuch", "no shipped model"),
    _bad("models nosuch", "nosuch"),
    _bad("check nosuch", "no model"),
    _bad("check ../nosuch", "no model file"),
    _bad("check {f}/model.toml --data", "--data"),
    _bad("sample {f}/model.toml --resume {f}/no.nc", "no file"),
    _bad("curves {f}/model.toml", "genetic"),
    *(
        _bad(f"curves {{f}}/model.toml --at {at}", says, files=_REGRESSION)
        for at, says in (
            ("a,b", "numbers"),
            ("nan", "finite"),
            ("inf", "finite"),
            ("5,,6", "numbers"),
            ("1000", "outside"),
            (",", "numbers"),
            ("1e999", "finite"),
            ("5;6", "numbers"),
            ("[/]", "numbers"),
            (",".join(["6"] * 3000), "3000 points"),
        )
    ),
    _bad("curves {f}/model.toml --at 5,6", files=_REGRESSION, codes=(0,)),
    _bad("curves {f}/model.toml --posterior {f}/no.nc", "no file", files=_REGRESSION),
    Case(name="--debug after the command", words="check {f}/model.toml --debug", codes=(0,)),
    Case(name="version", words="--version", codes=(0,)),
    Case(name="help", words="--help", codes=(0,)),
    Case(name="help of a command", words="compare --help", codes=(0,)),
]
