"""Families of traits: how what is recorded depends on a latent value that is normal."""

from bayesmv.families.declared import FAMILIES, Family, family

__all__ = ["FAMILIES", "Family", "family"]
