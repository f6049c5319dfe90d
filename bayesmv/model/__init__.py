"""Words of a model → ModelSpec."""
