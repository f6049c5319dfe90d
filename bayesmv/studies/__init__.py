"""Many fits: studies of coverage and bias, and the planning of trials."""

from bayesmv.studies.run import study

__all__ = ["study"]
