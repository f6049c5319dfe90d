"""Settings of all tests."""

from hypothesis import settings

# Timings on a busy machine say nothing, and a suite that gates a build must not change from run to run.
settings.register_profile("bayesmv", deadline=None, derandomize=True)
settings.load_profile("bayesmv")
