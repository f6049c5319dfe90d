"""Many fits: studies of coverage and bias, and the planning of trials."""

from bayesmv.studies.declared import StudySpec
from bayesmv.studies.plan import Plan, plan
from bayesmv.studies.run import study
from bayesmv.studies.summary import study_summary

__all__ = ["Plan", "StudySpec", "plan", "study", "study_summary"]
