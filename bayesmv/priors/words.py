"""Words of the prior of a covariance structure, for reports."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

from bayesmv.covariance import Antedependence, Constrained, CovarianceStructure, Separate, Unstructured
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.parameters import PHENOTYPIC, parameter_prior


class Statement(NamedTuple):
    """Quantity, its law, and the unit that it is in (empty for none)."""

    quantity: str
    law: str
    unit: str


@singledispatch
def prior_words(structure: CovarianceStructure, prior: CovariancePrior) -> str:
    """Words of the prior of a structure.

    By default the parameters have independent priors of their kinds (:mod:`bayesmv.priors.parameters`); another prior
    is registered on the class of the structure.

    Examples
    --------
    >>> from bayesmv.covariance import structure
    >>> prior_words(structure("rr(2)", 4), CovariancePrior())
    'loadings ~ normal(0, 0.5) phenotypic sd'
    """
    if prior.share is not None:
        return str(prior)
    found = [(kind.word, parameter_prior(kind, prior)) for kind, _ in structure.groups]
    known = sorted(((word, law) for word, law in found if law is not None), key=lambda pair: pair[1].rank)
    statements = dict.fromkeys(Statement(word, law.describe(), law.unit) for word, law in known)
    return _sentence(tuple(statements)) or "given, not estimated"


@prior_words.register(Unstructured)
@prior_words.register(Antedependence)
def _(structure: CovarianceStructure, prior: CovariancePrior) -> str:
    if prior.wishart is not None:
        return f"matrix ~ {prior.wishart.describe()}"
    if prior.share is not None:
        return str(prior)
    deviations = Statement("sd", prior.sd.describe(), PHENOTYPIC)
    return _sentence((deviations, Statement("correlations", f"LKJ({prior.eta:g})", "")))


@prior_words.register
def _(structure: Separate, prior: CovariancePrior) -> str:
    return "; ".join(dict.fromkeys(prior_words(part, prior) for part in structure.parts))


@prior_words.register
def _(structure: Constrained, prior: CovariancePrior) -> str:
    return prior_words(structure.inner, prior)


def _sentence(statements: Sequence[Statement]) -> str:
    """All statements, a unit once after those that share it."""
    following = [*(s.unit for s in statements[1:]), ""]
    return ", ".join(
        f"{s.quantity} ~ {s.law}" + (f" {s.unit}" if s.unit != after else "")
        for s, after in zip(statements, following[: len(statements)], strict=True)
    )
