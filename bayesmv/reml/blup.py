"""Best linear unbiased prediction at given covariances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bayesmv.design.design import Design
from bayesmv.errors import SpecError, listing
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.reml.result import RemlFit, fitted
from bayesmv.reml.start import working_covariance


def blup(design: Design, covariances: Mapping[str, npt.ArrayLike]) -> RemlFit:
    """Solve the mixed-model equations at given covariances: best linear unbiased prediction.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.
    covariances
        Covariance matrix of every random term and of the residual (``"Residual"``), in the units of the data.

    Returns
    -------
    RemlFit
        Not fitted: ``fixed``, ``effects(term)`` and ``loglik`` at these covariances, which ``varcomp`` calls ``fixed``.

    Raises
    ------
    SpecError
        If a matrix is missing, has the wrong shape, is not positive semi-definite, or not of the term's structure.

    References
    ----------
    Henderson (1975), Biometrics 31:423-447.
    """
    absent = [name for name in design.names if name not in covariances]
    strangers = [name for name in covariances if name not in design.names]
    if absent or strangers:
        raise SpecError(
            f"give the covariances of {listing(design.names)}, no more and no fewer; got {listing(covariances)}"
        )
    sigmas = [working_covariance(design, name, np.asarray(covariances[name], dtype=float)) for name in design.names]
    theta = design.blocks.from_matrices(sigmas)
    for name, sigma, kept in zip(design.names, sigmas, design.blocks.matrices(theta), strict=True):
        if not np.allclose(sigma, kept, atol=1e-10):
            raise SpecError(f"the covariance of {name} is not of the structure that the model states for it")
    engine = MixedModelLikelihood(design)
    value, gradients = engine.value_and_gradient(sigmas)
    return fitted(
        design,
        engine,
        theta,
        loglik=value,
        gradient=design.blocks.pullback(theta, gradients),
        iterations=0,
        converged=True,
        given=True,
    )
