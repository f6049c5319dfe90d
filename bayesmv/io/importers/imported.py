"""Answers of other programs matched to a design: as estimates, or as draws of a posterior."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.dims import RESIDUAL
from bayesmv.errors import DataError, SpecError, listing, require_known
from bayesmv.estimates.points import Compute
from bayesmv.estimates.source import PosteriorEstimates, RemlEstimates
from bayesmv.io.importers.found import RESIDUALS, Component, Found
from bayesmv.io.importers.programs import PROGRAMS
from bayesmv.model.textfile import read_text
from bayesmv.reml.blup import blup
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.trace import matrices_dataset


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where imported estimates are from.

    Parameters
    ----------
    program
        The program.
    loglik
        Its log-likelihood, with the full constant, NaN if it gives none.
    notes
        What to know in a comparison, in words.
    """

    program: str
    loglik: float = float("nan")
    notes: tuple[str, ...] = ()


class ImportedEstimates(RemlEstimates):
    """Point estimates of another program, with its standard errors of components.

    Parameters
    ----------
    fit
        The design at these covariances.
    errors
        Standard errors of the components, (m, m) by term, NaN where the program gives none.
    origin
        Where they are from.
    """

    def __init__(self, fit: RemlFit, errors: Mapping[str, Array], origin: Origin) -> None:
        super().__init__(fit)
        self.errors, self.origin = errors, origin

    def components(self) -> pd.DataFrame:
        """Variances and covariances with the program's standard errors."""
        rows = []
        for name, S in self.fit.covariances.items():
            effects = self.record.effects_of(name)
            for i in range(len(S)):
                rows += [
                    (name, effects[j], effects[i], S[i, j], self.errors[name][i, j])
                    for j in range(i + 1)
                    if i == j or S[i, j]
                ]
        table = pd.DataFrame(rows, columns=["term", "trait_i", "trait_j", "component", "std_error"])
        return table.assign(z_ratio=table["component"] / table["std_error"], constraint="")

    def evaluate(self, compute: Compute) -> pd.DataFrame:
        """Functions of the estimates; their errors need covariances of errors, which no file here has."""
        return super().evaluate(compute).assign(std_error=np.nan, constraint="")


@dataclass(frozen=True, kw_only=True)
class ImportedDraws(PosteriorEstimates):
    """Draws of another program as a posterior."""

    origin: Origin = field(default_factory=lambda: Origin(program=""))


def read_estimates(
    path: str | Path,
    program: str,
    design: Design,
    *,
    terms: Mapping[str, str] | None = None,
    traits: Mapping[str, str] | None = None,
) -> ImportedEstimates | ImportedDraws:
    """Answer of another program, as estimates of a design that every table, comparison and plot reads.

    Parameters
    ----------
    path
        The program's file.
    program
        ``asreml`` (``summary(m)$varcomp`` as CSV, or ``.asr``), ``blupf90`` (airemlf90.log), ``wombat``
        (SumEstimates.out), ``sommer`` and ``lme4`` (their tables as CSV), ``mcmcglmm`` (``VCV`` as CSV), ``brms``
        (draws as CSV), ``jwas`` (samples of a term; give its name as ``terms={"": "animal"}``, which leaves other
        terms as the first found).
    design
        The same model in bayesmv; traits and terms are matched by name.
    terms, traits
        Terms and traits of the program's file by the design's name, ``{"animal": "vm(id, ainv)"}``, where names do not
        tell: BLUPF90 numbers its effects, ``{"animal": "effect 3"}``.

    Returns
    -------
    Estimates
        Of estimates, with the program's standard errors; of draws, as a posterior is. ``origin`` says what to know.

    Raises
    ------
    SpecError
        If the program is not known, or a term has effects other than the traits.
    DataError
        If the file is not of the program, or its terms or traits cannot be matched: naming them.
    """
    require_known([program], PROGRAMS, "no importer for {}; there are")
    text = read_text(Path(path), f"file of {PROGRAMS[program].label}", DataError)
    try:
        found = PROGRAMS[program].read(text)
    except DataError as error:
        raise DataError(f"'{path}' of {PROGRAMS[program].label} ({PROGRAMS[program].file}): {error}") from None
    return matched(found, design, program, terms=terms or {}, traits=traits or {})


def matched(
    found: Found, design: Design, program: str, *, terms: Mapping[str, str], traits: Mapping[str, str]
) -> ImportedEstimates | ImportedDraws:
    """Components of a program as estimates of a design."""
    label = PROGRAMS[program].label
    uneven = [name for name in design.names if design.effects_of(name) != design.traits]
    if uneven:
        raise SpecError(f"the effects of {listing(uneven)} are not one for each trait, and cannot be matched")
    names = _matched_terms(found.components, design, terms, label)
    places = _matched_traits(found.components, design, traits, label)
    shape = next(iter(found.components)).value.shape
    t = len(design.traits)
    covariances = {name: np.full((*shape, t, t), np.nan) for name in design.names}
    errors = {name: np.full((t, t), np.nan) for name in design.names}
    ratios = list[tuple[str, int, int, Array]]()
    for c in found.components:
        if c.term not in names:
            continue
        name, i, j = names[c.term], places[c.trait_i], places[c.trait_j]
        if c.kind == "correlation":
            ratios.append((name, i, j, c.value))
            continue
        value = c.value**2 if c.kind == "sd" else c.value
        covariances[name][..., i, j] = covariances[name][..., j, i] = value
        errors[name][i, j] = errors[name][j, i] = c.std_error
    for name, i, j, r in ratios:
        S = covariances[name]
        S[..., i, j] = S[..., j, i] = r * np.sqrt(S[..., i, i] * S[..., j, j])
    for name, S in covariances.items():
        _require_whole(S, name, design, label)
    origin = Origin(program=label, loglik=_loglik(found, design), notes=_notes(found, design, label))
    if not found.drawn:
        return ImportedEstimates(blup(design, covariances), errors, origin)
    tree = xr.DataTree.from_dict({"posterior": matrices_dataset(design, covariances)})
    tree.attrs.update(ModelRecord.of(design).to_attributes())
    return ImportedDraws(trace=tree, origin=origin)


def _matched_terms(
    components: Iterable[Component], design: Design, given: Mapping[str, str], label: str
) -> dict[str, str]:
    """Design's name of every term of the program."""
    theirs = list(dict.fromkeys(c.term for c in components))
    require_known(given, design.names, "no term {}; terms of the model")
    require_known(given.values(), theirs, f"{label} has no term {{}}; it has")
    out = {word: name for name, word in given.items()}
    for word in theirs:
        if word in out:
            continue
        known = [n for n in design.names if n not in out.values()]
        mine = [RESIDUAL] if word == RESIDUALS else [n for n in known if _alike(word, n)]
        if len(mine) == 1:
            out[word] = mine[0]
    left, mine = [w for w in theirs if w not in out], [n for n in design.names if n not in out.values()]
    if len(left) == 1 and len(mine) == 1:
        out[left[0]] = mine[0]
        left, mine = [], []
    if left or mine:
        raise DataError(
            f"the terms of {label} and of the model cannot be matched: {listing(left) or 'none'} there, "
            f"{listing(mine) or 'none'} here are left; say which is which, terms={{'{(mine or ['animal'])[0]}': '…'}}"
        )
    return out


def _alike(word: str, name: str) -> bool:
    """Whether a program's word for a term names a term of the design: as a whole, or by one of its words."""
    one, other = _plain(word), _plain(name)
    return one == other or other in [_plain(part) for part in re.split(r"\W+", word)]


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word).lower()


def _matched_traits(
    components: Iterable[Component], design: Design, given: Mapping[str, str], label: str
) -> dict[str, int]:
    """Position of every trait that the program names."""
    theirs = list(dict.fromkeys(word for c in components for word in (c.trait_i, c.trait_j)))
    require_known(given, design.traits, "no trait {}; traits of the model")
    out = {word: design.traits.index(trait) for trait, word in given.items()}
    plain = [_plain(trait) for trait in design.traits]
    for word in theirs:
        if word in out:
            continue
        if word == "" and len(design.traits) == 1:
            out[word] = 0
        elif word.isdigit() and 1 <= int(word) <= len(plain):
            out[word] = int(word) - 1
        elif plain.count(_plain(word)) == 1:
            out[word] = plain.index(_plain(word))
        else:
            raise DataError(
                f"'{word}' of {label} is not a trait of the model ({listing(design.traits)}); say which is which, "
                f"traits={{'{design.traits[0]}': '{word}'}}"
            )
    return out


def _require_whole(S: Array, name: str, design: Design, label: str) -> None:
    """Refuse a matrix without a variance; covariances that are nowhere given are 0."""
    t = len(design.traits)
    lost = [trait for i, trait in enumerate(design.traits) if np.isnan(S[..., i, i]).any()]
    if lost:
        raise DataError(f"{label} gives no variance of {listing(lost)} for {name}")
    off = [(i, j) for i in range(t) for j in range(i)]
    absent = [(i, j) for i, j in off if np.isnan(S[..., i, j]).any()]
    if absent and len(absent) < len(off):
        i, j = absent[0]
        raise DataError(f"{label} gives no covariance of {design.traits[j]} and {design.traits[i]} for {name}")
    for i, j in absent:
        S[..., i, j] = S[..., j, i] = 0.0


def _loglik(found: Found, design: Design) -> float:
    """Log-likelihood with the full constant."""
    free = design.n_records - int(design.fixed.present.sum())
    return found.loglik if found.constant else found.loglik - 0.5 * free * float(np.log(2 * np.pi))


def _notes(found: Found, design: Design, label: str) -> tuple[str, ...]:
    out = list(found.notes)
    if np.isfinite(found.loglik) and not found.constant:
        free = design.n_records - int(design.fixed.present.sum())
        out.append(
            f"{label} leaves (N - p)/2 log 2π out of its log-likelihood {found.loglik:.3f}; with it, as here, it is "
            f"{_loglik(found, design):.3f} (N - p = {free}); fixed effects that are coded otherwise move it too"
        )
    return tuple(out)
