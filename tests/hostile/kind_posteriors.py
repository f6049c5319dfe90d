"""Posteriors: files that are cut off, of other models, of other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from harness import Case, model, trial
from traces import trace_of

import bayesmv as bmv

_MODEL = model('[genetic]\nterm = "Family"\n', random='"us(leg(age, 1)):Family"', traits='["bden"]')
_WITH = {"model.toml": _MODEL}


def _design(text: str = _MODEL) -> bmv.Design:
    return bmv.build_design(bmv.ModelSpec.from_toml(text), trial())


def _good(folder: Path, text: str = _MODEL, seed: int = 4) -> xr.DataTree:
    design = bmv.build_design(bmv.ModelSpec.from_toml(text), trial(seed))
    trace = trace_of(design, reml=bmv.fit_reml(design))
    trace.to_netcdf(folder / "draws.nc")
    return trace


def _cut(share: float):
    def prepare(folder: Path) -> None:
        _good(folder)
        content = (folder / "draws.nc").read_bytes()
        (folder / "draws.nc").write_bytes(content[: int(len(content) * share)])

    return prepare


def _changed(**attributes: object):
    def prepare(folder: Path) -> None:
        trace = _good(folder)
        for name, value in attributes.items():
            if value is None:
                trace.attrs.pop(name, None)
            else:
                trace.attrs[name] = value
        trace.to_netcdf(folder / "draws.nc")

    return prepare


def _foreign(folder: Path) -> None:
    xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": (("chain", "draw"), np.zeros((2, 5)))})}).to_netcdf(
        folder / "draws.nc"
    )


def _flat(folder: Path) -> None:
    xr.Dataset({"x": ("t", np.arange(3.0))}).to_netcdf(folder / "draws.nc")


def _bytes(content: bytes):
    return lambda folder: (folder / "draws.nc").write_bytes(content)


def _fit_file(folder: Path) -> None:
    bmv.fit_reml(_design()).to_netcdf(folder / "draws.nc")


#: What stands in the file, and what is said of it.
FILES = {
    "empty": (_bytes(b""), "cannot read"),
    "text": (_bytes(b"hello, world\n" * 50), "cannot read"),
    "a picture": (_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500)), "cannot read"),
    "HDF5 in name": (_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500)), "cannot read"),
    "netCDF 3 in name": (_bytes(b"CDF\x01" + bytes(500)), "cannot read|no bayesmv"),
    "a folder": (lambda folder: (folder / "draws.nc").mkdir(), "cannot read|folder"),
    "cut off at a tenth": (_cut(0.1), "cannot read|no bayesmv|no posterior"),
    "cut off at a half": (_cut(0.5), "cannot read|no bayesmv|no posterior"),
    "cut off at the end": (_cut(0.98), "cannot read|no bayesmv|no posterior"),
    "of another program": (_foreign, "no posterior or fit of this version"),
    "of no groups": (_flat, "holds no bayesmv posterior"),
    "a REML fit": (_fit_file, "holds no bayesmv posterior"),
    "of another model": (lambda folder: _good(folder, _MODEL.replace("leg(age, 1)", "leg(age, 2)")), "differ"),
    "of other data": (lambda folder: _good(folder, seed=5), "differ"),
    "without a record": (_changed(record=None), "says nothing|no posterior"),
    "with a record that is no JSON": (_changed(record="{"), "cannot be read"),
    "with a record of nothing": (_changed(record="{}"), "cannot be read"),
    "with a record of lists": (_changed(record="[1, 2]"), "cannot be read"),
    "with a model that is no TOML": (_changed(model="["), "cannot be read"),
    "with a model that runs something": (
        _changed(model=_MODEL.replace('fixed = "1"', "fixed = \"1 + __import__('os').system('touch pwned')\"")),
        "",
    ),
    "with a number for a model": (_changed(model=3), "cannot be read"),
}

CASES = [
    *(
        Case(
            name=f"posterior {name}",
            words="curves {f}/model.toml --posterior {f}/draws.nc",
            files=_WITH,
            prepare=prepare,
            says=says,
        )
        for name, (prepare, says) in FILES.items()
    ),
    *(
        Case(
            name=f"resumed from a file {name}",
            words="sample {f}/model.toml --resume {f}/draws.nc",
            files=_WITH,
            prepare=prepare,
            says=says,
        )
        for name, (prepare, says) in FILES.items()
    ),
    Case(
        name="posterior that is good",
        words="curves {f}/model.toml --posterior {f}/draws.nc --at 6",
        files=_WITH,
        prepare=_good,
        codes=(0, 3),
    ),
    Case(
        name="resumed from a posterior without a state",
        words="sample {f}/model.toml --resume {f}/draws.nc",
        files=_WITH,
        prepare=_good,
        says="cannot be resumed",
    ),
]
