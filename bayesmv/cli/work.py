"""Work that commands share: a fit, a run of the sampler, draws of a file, and what is written with a document."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bayesmv.cli.output import Write

if TYPE_CHECKING:
    import xarray as xr

    from bayesmv.design import saved
    from bayesmv.design.design import Design
    from bayesmv.reml.result import RemlFit


def fit_of(design: Design, engine: str = "auto") -> RemlFit:
    from bayesmv.reml.fit import fit_reml

    return fit_reml(design, engine=engine)


def settings_of(context: typer.Context, resume: Path | None) -> dict[str, Any]:
    """Settings of the sampler among the options of a command; of a run that is taken up, those that were given."""
    from bayesmv.sampling.settings import SamplerSettings

    names = [field.name for field in dataclasses.fields(SamplerSettings) if field.name in context.params]
    if resume is not None:
        names = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    words = {name: context.params[name] for name in names}
    SamplerSettings(**words)  # refuses what is wrong before any work
    return words


def sampled(fit: RemlFit, words: dict[str, Any], **options: Any) -> xr.DataTree:
    from bayesmv.sampling.sample import sample as run

    return run(fit.design, reml=fit, engine=fit.engine, **options, **words)


def written(trace: xr.DataTree, target: saved.Target | None) -> list[Write]:
    if target is None:
        return []
    return [Write(what="the draws", target=target, write=lambda file: file.write_tree(trace))]


def drawn(document: Any, target: saved.Target | None) -> list[Write]:
    if target is None or document.picture is None:
        return []
    return [Write(what="the picture", target=target, write=lambda file: file.write(document.picture.draw))]


def imported_of(design: Design, files: list[str], terms: list[str]) -> dict[str, Any]:
    """Answers of other programs, by their names, from words such as ``asreml=run.asr`` and ``asreml:animal=vm(id)``."""
    from bayesmv.errors import SpecError
    from bayesmv.io.importers import read_estimates

    named: dict[str, dict[str, str]] = {}
    for word in terms:
        left, _, theirs = word.partition("=")
        program, _, mine = left.partition(":")
        if not (theirs and mine):
            raise SpecError(f"--with-term {word}: give program:term=name, as in blupf90:animal='effect 3'")
        named.setdefault(program, {})[mine] = theirs
    out = {}
    for word in files:
        program, _, path = word.partition("=")
        if not path:
            raise SpecError(f"--with {word}: give program=file, as in asreml=run.asr")
        found = read_estimates(path, program, design, terms=named.get(program))
        out[found.origin.program] = found
    return out


def posterior_of(design: Design, path: Path) -> xr.DataTree:
    """Posterior in a file, refused if it is of another model or other data."""
    from bayesmv.design.model_record import ModelRecord
    from bayesmv.sampling.trace import load_posterior

    trace = load_posterior(str(path))
    ModelRecord.read(trace).require_same(ModelRecord.of(design), f"the posterior in '{path}'", "the model")
    return trace
