"""Posterior of the covariance parameters: coordinates, log density, compiled forms."""
