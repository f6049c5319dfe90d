"""Comparison of REML with the posterior, and of models with each other."""
