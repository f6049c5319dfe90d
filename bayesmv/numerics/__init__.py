"""Numerics that know no model."""
