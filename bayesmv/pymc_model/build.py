"""From a design to a ``pm.Model``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood import Engine, RestrictedLikelihood, likelihood
from bayesmv.priors.declarations import CovariancePrior

if TYPE_CHECKING:
    import pymc as pm

Effects = Literal["marginal", "sampled"]


def build_model(
    design: Design,
    *,
    priors: Mapping[str, CovariancePrior] | None = None,
    effects: Effects = "marginal",
    engine: Engine | RestrictedLikelihood = "auto",
    fixed_prior: float | None = None,
) -> pm.Model:
    r"""Build the PyMC model of a design, to extend it or to sample it with PyMC's own tools.

    Both forms have the same posterior of the covariances, because fixed effects have a flat prior:

    .. math:: p(\Sigma \mid y) \propto p(\Sigma) \int p(y \mid b, u, \Sigma)\, p(u \mid \Sigma)\, db\, du
        \propto p(\Sigma)\, e^{l(\Sigma)}

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.
    priors
        Priors by name of the term, in place of those of the specification; standard deviations are in phenotypic sd.
    effects
        ``"marginal"``: fixed and random effects are integrated out, the restricted log-likelihood l is the potential
        ``restricted_loglik``. ``"sampled"``: all effects are variables of the model (non-centred) and the records are
        observed; for models that need the effects in the graph, and those with traits that are not Gaussian.
    engine
        Likelihood engine of the marginal model, or the word of one. The sampled model has none.
    fixed_prior
        Scale of a proper normal prior of the fixed effects of the sampled model, so that PyMC can draw from its prior:
        each mean about that of its trait, with this many phenotypic standard deviations; other coefficients about 0,
        with this many for one standard deviation of their column. None for the flat prior.

    Returns
    -------
    pm.Model
        Deterministics ``<term>_cov``, ``<term>_corr`` and ``<term>_sd`` in the units of the data, named and labelled
        as those of :func:`bayesmv.sample`; the sampled model also has ``fixed`` and ``<term>_effect``.

        The free variables ``<term>_theta`` are the parameters θ of the term's structure, in phenotypic sd (m effects):

        ========== ================ ========================================= ==========================================
        structure  shape of θ       θ                                         value variable x
        ========== ================ ========================================= ==========================================
        us, corgh  (m(m+1)/2,)      lower triangle of L, Σ = LL', by rows     log sd_i for L_ii, arcsinh(L_ij / L_ii)
        diag       (m,)             standard deviations                       log sd_i
        idv        (1,)             standard deviation                        log sd
        others     (n_parameters,)  as their class in bayesmv.covariance says as its coordinates (:mod:`.coordinates`)
        ========== ================ ========================================= ==========================================

        The value variables of the ``<term>_theta``, in the order of ``design.names`` and so first in
        ``model.value_vars``, are together the vector x of ``LogPosterior``, entry by entry (the map is that of
        :mod:`bayesmv.posterior.coordinates`). The marginal model has no others, and its log density is that of
        LogPosterior up to one constant. The sampled model then has ``fixed_raw`` (coefficients,), and ``<term>_z``
        (levels, effects) of every term. Its observed variables are the records of every missing pattern,
        ``records_<trait>+<trait>``: deviations from least squares, phenotypic sd. Where traits are not Gaussian it has
        ``records_<trait>_<pattern>`` of every trait and pattern of records of a unit, ``Residual_z_<pattern>``,
        standardised residuals of counts, and ``<trait>_free``, standard normal coordinates of thresholds and of other
        numbers of families, which are ``<trait>_thresholds``, ``<trait>_shape`` and ``<trait>_zeros``.

    Raises
    ------
    SpecError
        If the form or the engine is unknown, a prior is given for a term that does not exist, or a prior of fixed
        effects for the marginal model, which has none.
    """
    if effects not in get_args(Effects):
        raise SpecError(f"effects must be 'marginal' or 'sampled', not {effects!r}")
    if effects == "marginal":
        design.require_gaussian("effects are integrated out of PyMC models (effects='sampled' keeps them)")
    resolved = design.priors(priors)
    if effects == "sampled":
        from bayesmv.pymc_model.hierarchical import sampled_model

        return sampled_model(design, resolved, fixed_prior)
    if fixed_prior is not None:
        raise SpecError("fixed_prior is for effects='sampled'; the marginal model has integrated fixed effects out")
    from bayesmv.pymc_model.marginal import marginal_model

    return marginal_model(design, resolved, likelihood(design, engine) if isinstance(engine, str) else engine)
