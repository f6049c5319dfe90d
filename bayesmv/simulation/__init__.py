"""Simulated records and the shipped data sets."""
