"""Priors: declarations, densities, draws."""
