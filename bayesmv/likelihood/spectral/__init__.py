"""Spectral engine: one random term with a relationship, complete records; tables of functions of one scalar."""
