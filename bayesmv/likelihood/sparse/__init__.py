"""Sparse engine: the restricted likelihood of any model, by the mixed-model equations."""
