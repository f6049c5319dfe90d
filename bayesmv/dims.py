"""Names of dimensions and variables, and the one stacking rule.

Effects of a term are arrays ``(level, effect)``; an effect is a trait, or a trait with a covariate or with another
individual. With ``vec`` stacking columns, ``vec(U) ~ N(0, Sigma ⊗ K)``: Sigma is the covariance among the effects of
one level, K the relationship among levels. The rows of the data are units (trees, animals, plots), responses are
arrays ``(unit, trait)`` with NaN where a trait was not recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

CHAIN, DRAW = "chain", "draw"
TRAIT, TRAIT_OTHER = "trait", "trait_other"
COEFFICIENT = "coefficient"
UNIT = "unit"
FIXED = "fixed"
RESIDUAL = "Residual"


def saved(name: str) -> str:
    """Name of a term or trait as names of saved variables may hold it: they are not divided."""
    return name.replace("/", "∕")


def covariance_name(term: str) -> str:
    """Variable that holds a term's covariance matrix."""
    return f"{saved(term)}_cov"


def family_name(trait: str, number: str) -> str:
    """Variable that holds the thresholds of an ordered trait after the first, or another number of a family."""
    return f"{trait}_{number}"


def variance_name(term: str) -> str:
    """Variable that holds a term's variances."""
    return f"{saved(term)}_var"


def pair_dim(term: str) -> str:
    """Dimension of the pairs of a term's effects."""
    return f"{saved(term)}_pair"


def correlation_name(term: str) -> str:
    """Variable that holds a term's correlation matrix."""
    return f"{saved(term)}_corr"


def sd_name(term: str) -> str:
    """Variable that holds a term's standard deviations."""
    return f"{saved(term)}_sd"


def error_name(variable: str) -> str:
    """Variable that holds the standard errors of another."""
    return f"{variable}_se"


def loading_name(term: str) -> str:
    """Variable that holds the loadings of a term with factors, before rotation."""
    return f"{saved(term)}_loading"


def specific_name(term: str) -> str:
    """Variable that holds the specific variances of a term with factors."""
    return f"{saved(term)}_specific"


def factor_dim(term: str) -> str:
    """Dimension of a term's factors."""
    return f"{saved(term)}_factor"


def effect_name(term: str) -> str:
    """Variable that holds a term's effects (block effects, breeding values)."""
    return f"{saved(term)}_effect"


def level_dim(term: str) -> str:
    """Dimension of a term's levels."""
    return f"{saved(term)}_level"


def effect_dims(term: str, effects: Sequence[str], traits: Sequence[str]) -> tuple[str, str]:
    """Return the two dimensions of a term's covariance matrix.

    They are shared by all terms whose effects are just the traits; other terms (a subset of traits, traits ×
    covariates) have dimensions of their own, because their coordinates differ.
    """
    if tuple(effects) == tuple(traits):
        return TRAIT, TRAIT_OTHER
    return f"{saved(term)}_{TRAIT}", f"{term}_{TRAIT_OTHER}"
