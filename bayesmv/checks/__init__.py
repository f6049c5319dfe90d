"""Checks before a fit: what the data can tell about each covariance, and what an evaluation costs."""
