"""The programs whose answers are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bayesmv.io.importers.asreml import read_asr, read_varcomp
from bayesmv.io.importers.draws import read_brms, read_jwas, read_mcmcglmm
from bayesmv.io.importers.found import Found
from bayesmv.io.importers.logs import read_blupf90, read_wombat
from bayesmv.io.importers.tables import read_lme4, read_sommer


class Program(NamedTuple):
    """A program: its name, what file is read, and the function of its text."""

    label: str
    file: str
    read: Callable[[str], Found]


def _asreml(text: str) -> Found:
    return read_asr(text) if "Model_Term" in text else read_varcomp(text)


PROGRAMS: Mapping[str, Program] = {
    "asreml": Program("ASReml", "write.csv(summary(m)$varcomp), or the .asr file", _asreml),
    "blupf90": Program("BLUPF90", "airemlf90.log", read_blupf90),
    "wombat": Program("WOMBAT", "SumEstimates.out", read_wombat),
    "sommer": Program("sommer", "write.csv(summary(m)$varcomp)", read_sommer),
    "lme4": Program("lme4", "write.csv(as.data.frame(VarCorr(m)))", read_lme4),
    "mcmcglmm": Program("MCMCglmm", "write.csv(m$VCV)", read_mcmcglmm),
    "brms": Program("brms", "write.csv(as_draws_df(m))", read_brms),
    "jwas": Program("JWAS", "MCMC_samples_… of a term", read_jwas),
}
