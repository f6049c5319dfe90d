"""The marginal model: covariance matrices only, with the restricted log-likelihood as a potential."""

from __future__ import annotations

from collections.abc import Mapping

import pymc as pm

from bayesmv.design.design import Design
from bayesmv.likelihood import RestrictedLikelihood
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.pymc_model.covariances import add_covariances, covariance_coords
from bayesmv.pymc_model.restricted import RestrictedLogLikelihood

#: Name of the potential.
RESTRICTED_LOGLIK = "restricted_loglik"


def marginal_model(design: Design, priors: Mapping[str, CovariancePrior], engine: RestrictedLikelihood) -> pm.Model:
    """Model with log density ``l(Σ) + Σ_k log p(Σ_k)``, all effects integrated out.

    Parameters
    ----------
    design
        The design.
    priors
        Prior of every covariance matrix, by name of the term.
    engine
        Restricted likelihood.
    """
    with pm.Model(coords=covariance_coords(design)) as model:
        covariances = add_covariances(design, priors)
        loglik = RestrictedLogLikelihood(engine)(*(c.sigma for c in covariances.values()))
        pm.Potential(RESTRICTED_LOGLIK, loglik)
    return model
