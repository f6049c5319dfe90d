"""Approximate likelihoods of the covariances where some traits are not Gaussian."""

from bayesmv.likelihood.latent.engine import LaplaceLikelihood, LatentLikelihood, VariationalLikelihood

__all__ = ["LaplaceLikelihood", "LatentLikelihood", "VariationalLikelihood"]
