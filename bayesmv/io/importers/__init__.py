"""Answers of other programs: each becomes :class:`bayesmv.estimates.source.Estimates`, which every table reads.

**To add a program**, write a function of the text of its file that returns :class:`.found.Found` (variance components
with the program's own names, or draws of them), and list it in :data:`.programs.PROGRAMS`.
"""

from bayesmv.io.importers.imported import read_estimates

__all__ = ["read_estimates"]
