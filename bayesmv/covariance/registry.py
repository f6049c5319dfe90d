"""Registry of covariance structures: from the words of a model to their classes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bayesmv.covariance.ante import Antedependence
from bayesmv.covariance.base import CovarianceStructure, Matrix
from bayesmv.covariance.factors import FactorAnalytic, ReducedRank
from bayesmv.covariance.given import FixedMatrix, Identity, ScaledMatrix
from bayesmv.covariance.linear import Diagonal, GeneralCorrelation, ScaledIdentity, Unstructured
from bayesmv.covariance.scaled import (
    Autoregressive,
    Exponential,
    HeterogeneousAutoregressive,
    HeterogeneousExponential,
    HeterogeneousUniform,
    UniformCorrelation,
)
from bayesmv.covariance.toeplitz import HeterogeneousToeplitz, Toeplitz
from bayesmv.errors import SpecError

STRUCTURES: dict[str, type[CovarianceStructure]] = {
    cls.word: cls
    for cls in (
        Identity,
        ScaledIdentity,
        Diagonal,
        Unstructured,
        UniformCorrelation,
        HeterogeneousUniform,
        GeneralCorrelation,
        FactorAnalytic,
        ReducedRank,
        Antedependence,
        Autoregressive,
        HeterogeneousAutoregressive,
        Exponential,
        HeterogeneousExponential,
        Toeplitz,
        HeterogeneousToeplitz,
        FixedMatrix,
        ScaledMatrix,
    )
}
#: Other words: MCMCglmm's idh, SAS's compound symmetry, ASReml's forms that state the variances.
ALIASES = {"idh": "diag", "cs": "corv", "csh": "corh", "ar1v": "ar1", "expv": "exp"}

_WRITTEN = re.compile(r"^(\w+)(?:\((.*)\))?$", re.DOTALL)


def split_structure(text: str) -> tuple[str, list[str]]:
    """Word and arguments of a structure as written in a model.

    Raises
    ------
    SpecError
        If there is no such structure.

    Examples
    --------
    >>> split_structure("exp(0, 1.5)"), split_structure("idh")
    (('exp', ['0', '1.5']), ('diag', []))
    """
    match = _WRITTEN.match(text.strip())
    word = match[1] if match else text
    if match is None or ALIASES.get(word, word) not in STRUCTURES:
        known = ", ".join(sorted([*STRUCTURES, *ALIASES]))
        raise SpecError(f"unknown covariance structure '{word}'; known structures: {known}")
    arguments = [part.strip() for part in match[2].split(",")] if match[2] else []
    return ALIASES.get(word, word), arguments


def structure(text: str, size: int, matrices: Mapping[str, Matrix] | None = None) -> CovarianceStructure:
    """Covariance structure that ASReml calls so, for `size` effects.

    Parameters
    ----------
    text
        Word, with arguments in brackets: ``us``, ``fa(2)``, ``exp(0, 1.5, 4)``, ``fixed(G)``.
    size
        Number of effects.
    matrices
        Matrices by name, for ``fixed`` and ``scaled``.

    Raises
    ------
    SpecError
        If there is no such structure, or its arguments do not fit.

    Examples
    --------
    >>> structure("us", 2).n_parameters, structure("fa(1)", 4).n_parameters
    (3, 8)
    """
    word, arguments = split_structure(text)
    return STRUCTURES[word].from_arguments(size, arguments, matrices)
