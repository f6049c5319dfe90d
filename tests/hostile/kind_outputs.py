"""Outputs: inputs as outputs, under every name that they have, and files that cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

from harness import Case, Result, model

import bayesmv as bmv

_PEDIGREE = "id,sire,dam\n" + "".join(f"F{i},,\n" for i in range(10))
_WITH_PEDIGREE = {
    "model.toml": model('[relationships.A]\npedigree = "ped.csv"\n', random='"us(trait):vm(Family, A)"'),
    "ped.csv": _PEDIGREE,
}
_KEPT = "is not overwritten"


def _links(folder: Path) -> None:
    (folder / "soft.csv").symlink_to("trial.csv")
    (folder / "soft.toml").symlink_to(folder / "model.toml")
    os.link(folder / "trial.csv", folder / "hard.csv")
    (folder / "sub").mkdir()
    (folder / "up").symlink_to(folder / "sub" / "..")
    (folder / "dangling.csv").symlink_to("nowhere.csv")


def _simulate(name: str, output: str, says: str = _KEPT, **options: object) -> Case:
    return Case(name=name, words=f"simulate {{f}}/model.toml -o {output}", says=says, prepare=_links, **options)


def _written(result: Result) -> str | None:
    rows = (result.folder / "new.csv").read_text().splitlines()
    return None if len(rows) == 101 else f"{len(rows)} lines"


def _through_link(result: Result) -> str | None:
    link = result.folder / "dangling.csv"
    return None if link.is_symlink() and len(link.read_text().splitlines()) == 101 else "the link was replaced"


_DRAWS = "--draws 20 --tune 20 --chains 2 --seed 3"


def _sampled(name: str, output: str, says: str = _KEPT, **options: object) -> Case:
    return Case(name=name, words=f"sample {{f}}/model.toml {_DRAWS} -o {output}", says=says, prepare=_links, **options)


def _compared(name: str, words: str, says: str = _KEPT, **options: object) -> Case:
    return Case(name=name, words=f"compare {{f}}/model.toml {_DRAWS} {words}", says=says, prepare=_links, **options)


def _readable(result: Result) -> str | None:
    sizes = bmv.load_posterior(str(result.folder / "draws.nc"))["posterior"].sizes
    return None if sizes["draw"] == 20 else f"{sizes}"


CASES = [
    _simulate("data as output", "{f}/trial.csv"),
    _simulate("data as output, relative", "trial.csv"),
    _simulate("data as output, in a roundabout way", "{f}/sub/../trial.csv"),
    _simulate("data as output, by a link", "{f}/soft.csv"),
    _simulate("data as output, by a hard link", "{f}/hard.csv"),
    _simulate("data as output, by a link of the folder", "{f}/up/trial.csv"),
    _simulate("model as output", "{f}/model.toml"),
    _simulate("model as output, by a link", "{f}/soft.toml"),
    _simulate("pedigree as output", "{f}/ped.csv", files=_WITH_PEDIGREE),
    _simulate("output is a folder", "{f}", "folder"),
    _simulate("output in no folder", "{f}/no/s.csv", "no folder"),
    _simulate("output in a file", "{f}/trial.csv/s.csv", "cannot write"),
    _simulate("output with a name of 300 letters", "{f}/" + "x" * 300 + ".csv", "cannot write|too long"),
    _simulate("output to a full device", "/dev/full", "cannot write.*space"),
    _simulate("output to nowhere", "/dev/null", "", codes=(0,)),
    _simulate("output", "{f}/new.csv", "wrote 100 rows", codes=(0,), outputs=("new.csv",), right=_written),
    _simulate(
        "output by a link to nothing yet",
        "{f}/dangling.csv",
        "",
        codes=(0,),
        outputs=("nowhere.csv", "dangling.csv"),
        right=_through_link,
    ),
    _simulate("output with markup in its name", "{f}/[bold].csv", r"\[bold\]", codes=(0,), outputs=("[bold].csv",)),
    _sampled("draws over the data", "{f}/trial.csv"),
    _sampled("draws over the model", "{f}/model.toml"),
    _sampled("draws over the model, by a link", "{f}/soft.toml"),
    _sampled("draws over the data, by a hard link", "{f}/hard.csv"),
    _sampled("draws over the pedigree", "{f}/ped.csv", files=_WITH_PEDIGREE),
    _sampled("draws to a folder", "{f}", "folder"),
    _sampled("draws to no folder", "{f}/no/draws.nc", "no folder"),
    _sampled("draws", "{f}/draws.nc", "", codes=(3,), outputs=("draws.nc",), right=_readable),
    _compared("picture over the data", "--plot {f}/trial.csv", "must end in"),
    _compared("picture over the draws", "-o {f}/x.png --plot {f}/x.png"),
    _compared("picture over the draws, roundabout", "-o {f}/x.png --plot {f}/sub/../x.png"),
    _compared("picture to no folder", "--plot {f}/no/p.png", "no folder"),
    _compared("picture of no kind", "--plot {f}/p.docx", "must end in"),
    _compared("picture without an ending", "--plot {f}/p", "must end in"),
    _compared(
        "picture and draws",
        "-o {f}/draws.nc --plot {f}/p.svg",
        "",
        codes=(3,),
        outputs=("draws.nc", "p.svg"),
        right=_readable,
    ),
    Case(name="model copied over a file", words="models copy canty_us -o {f}/trial.csv", says=_KEPT),
    Case(name="model copied into no folder", words="models copy canty_us -o {f}/no/x.toml", says="no folder"),
]
