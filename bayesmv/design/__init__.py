"""Table, model and relationships → arrays of the mixed model."""
