"""Some traits of a design, pairs above all, each term unstructured among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bayesmv.covariance.linear import Unstructured
from bayesmv.design.design import Design
from bayesmv.errors import SpecError, listing
from bayesmv.model.spec import ModelSpec


def require_pairs(design: Design) -> None:
    """Refuse a design whose terms are not the same for every pair of its traits.

    Raises
    ------
    SpecError
        Naming what differs among traits.
    """
    design.require_gaussian("pairs of traits are compared")
    uneven = [term.name for term in design.terms if term.effects != design.traits]
    if uneven:
        raise SpecError(
            f"the effects of {listing(uneven)} are not one for each trait: pairs of traits are compared where every "
            f"random term acts on all traits, as diag(trait):animal does, without covariates"
        )
    if not design.residual.plain or design.spec.constraints or design.spec.matrices:
        raise SpecError(
            "pairs of traits are compared without groups of residuals, weights, constraints and given matrices"
        )
    if not design.terms:
        raise SpecError("pairs of traits are compared by a random term; the model has none")


def of_traits(design: Design, at: Sequence[int]) -> Design:
    """Design of some traits alone, on the units that record any of them, with ``us(trait)`` of every term.

    The traits keep their scale, so that θ means the same in all such designs.
    """
    chosen = np.array(at)
    seen = design.observed[:, chosen].any(axis=1)
    design = design if seen.all() else _of_units(design, seen)
    traits = tuple(design.traits[k] for k in at)
    return replace(
        design,
        spec=_spec_of(design.spec, traits),
        traits=traits,
        families=tuple(design.families[k] for k in at),
        response=design.response[:, chosen],
        offset=design.offset[:, chosen],
        scale=design.scale[chosen],
        fixed=replace(
            design.fixed,
            present=design.fixed.present[:, chosen],
            aliased=design.fixed.aliased[:, chosen],
            ols=design.fixed.ols[:, chosen],
            traits=traits,
        ),
        terms=tuple(
            replace(
                term,
                structure=Unstructured(len(at)),
                effects=tuple(term.effects[k] for k in at),
                trait_of=np.arange(len(at)),
                load_of=term.load_of[chosen],
                n_traits=len(at),
            )
            for term in design.terms
        ),
        residual=replace(
            design.residual,
            structure=Unstructured(len(at)),
            effects=tuple(design.residual.effects[k] for k in at),
            trait_of=np.arange(len(at)),
            group_of=np.zeros(len(at), dtype=np.intp),
            recorded=(),
        ),
    )


def _of_units(design: Design, seen: npt.NDArray[np.bool_]) -> Design:
    kept = design.kept.copy()
    kept[np.flatnonzero(kept)[~seen]] = False
    return replace(
        design,
        units=design.units[seen],
        kept=kept,
        response=design.response[seen],
        offset=design.offset[seen],
        fixed=replace(
            design.fixed,
            X=sparse.csc_array(sparse.csr_array(design.fixed.X)[seen]),
            working=sparse.csc_array(sparse.csr_array(design.fixed.working)[seen]),
        ),
        terms=tuple(
            replace(
                term,
                incidences=tuple(sparse.csr_array(Z[seen]) for Z in term.incidences),
                bearers=tuple(sparse.csr_array(Z[seen]) for Z in term.bearers),
                functions=term.functions[seen],
            )
            for term in design.terms
        ),
        residual=replace(design.residual, group=design.residual.group[seen], weights=design.residual.weights[seen]),
        table=design.table[seen],
    )


def _spec_of(spec: ModelSpec, traits: tuple[str, ...]) -> ModelSpec:
    fixed = (
        replace(term, traits=None if term.traits is None else tuple(t for t in term.traits if t in traits))
        for term in spec.fixed
    )
    return replace(
        spec,
        traits=traits,
        fixed=tuple(term for term in fixed if term.traits is None or term.traits),
        random=tuple(replace(term, structure="us", traits=None) for term in spec.random),
        residual="us",
        offset={trait: column for trait, column in spec.offset.items() if trait in traits},
        units={trait: unit for trait, unit in spec.units.items() if trait in traits},
    )
