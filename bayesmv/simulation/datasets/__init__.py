"""The data sets that come with the package, all simulated, and the published results that two of them are built on.

None of these are the records of a real trial: :mod:`bayesmv.simulation.datasets.generators`,
:mod:`bayesmv.simulation.datasets.breeding` and :mod:`bayesmv.simulation.datasets.designs` hold the functions that
made them.
"""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

from bayesmv.errors import SpecError, listing
from bayesmv.simulation.datasets.breeding import Truth, true_values
from bayesmv.simulation.datasets.scored import make_lambs_scored

__all__ = ["DATASETS", "PUBLISHED_LOGLIK", "Truth", "load_dataset", "load_pedigree", "load_truth", "published_table"]

#: What there is, in one line each.
DATASETS: dict[str, str] = {
    "canty": "simulated forest trial, 11 blocks x 43 families, 653 trees, bden on 484 of them and veloc on 648",
    "canty_complete": "simulated forest trial, 11 blocks x 43 families, one tree per plot, nothing missing",
    "ril": "simulated trial of 159 inbred lines in 2 blocks: heading date, plant height and grain yield",
    "breeding": "simulated sheep flock with pedigree: 600 animals, wwt on 450 lambs and fat on 360 of them",
    "calves": "simulated birth weights of 480 calves with pedigree: direct and maternal effects",
    "lambs_scored": "simulated lambs with pedigree: weight, scab (yes, no), ease (1 to 4), worm eggs, days",
    "growth": "simulated weights of 160 animals with pedigree at four ages each: random regression",
    "pens": "simulated daily gains of 600 pigs with pedigree in 100 pens: social effects",
    "sites": "simulated trial of 48 varieties at four sites: yields of 768 plots",
}

_WITH_PEDIGREE = ("breeding", "calves", "growth", "lambs_scored", "pens")
_WITH_TRUTH = ("breeding", "lambs_scored")

#: Columns that are labels, whatever they look like.
_LABELS: tuple[str, ...] = ("tree", "plot", "Block", "Family", "line", "animal", "sex", "litter", "id", "sire", "dam")
_LABELS += ("calf", "pig", "pen", "site", "block", "variety")

#: Published restricted log-likelihoods of the reference trial, as ASReml prints them: without ``-(N-p)/2 log 2π``.
#: Their level depends on the real records; only the difference, 8.53, can be set beside that of the simulated data.
PUBLISHED_LOGLIK: dict[str, float] = {"us": -1124.781, "diag": -1133.312}

# term, trait_i, trait_j, component and std_error with us everywhere, component with diag everywhere.
_PUBLISHED = (
    ("Block", "bden", "bden", 162.8812, 78.54123, 162.7438),
    ("Block", "bden", "veloc", 0.1960789, 0.2273473, None),
    ("Block", "veloc", "veloc", 0.002185595, 0.001205128, 0.002186295),
    ("Family", "bden", "bden", 82.48391, 29.32427, 82.80282),
    ("Family", "bden", "veloc", 0.1594152, 0.1138992, None),
    ("Family", "veloc", "veloc", 0.002264225, 0.0008188618, 0.002246605),
    ("Residual", "bden", "bden", 546.0010, 37.12833, 545.9798),
    ("Residual", "bden", "veloc", 0.6028132, 0.1387624, None),
    ("Residual", "veloc", "veloc", 0.01710482, 0.0009820673, 0.01740894),
)


def load_dataset(name: str) -> pd.DataFrame:
    """Return a data set of the package.

    All are **simulated** (see :mod:`bayesmv.simulation.datasets.generators` for how, and from what).

    Parameters
    ----------
    name
        ``canty``: columns tree, Block, Family, bden (basic density, kg/m³) and veloc (acoustic velocity, km/s), NaN
        where a trait was not recorded. ``canty_complete``: the same columns, balanced and complete. ``ril``: plot,
        Block, line, heading (days), height (cm) and grain_yield (t/ha). ``breeding``: animal, sex, year, litter, wwt
        (weaning weight, kg) and fat (fat depth, mm; NaN in 20 %, missing completely at random).
        ``calves``: calf, dam, sex, year, weight (kg). ``growth``: animal, sex, age (days), weight (kg); four rows an
        animal. ``lambs_scored``: animal, sire, sex, weight (kg), scab (no, yes), ease (1 to 4), eggs (count, NaN in a
        third), days_low and days_high (between which a lamb was first treated; the second NaN where it had not by day
        140).
        ``pens``: pig, pen, gain (10 g a day). ``sites``: site, block, variety, yield (dt/ha). :data:`DATASETS`
        lists them.

    Returns
    -------
    DataFrame
        A new table each time; one row a tree, plot or animal; labels are strings such as ``B01``, ``F01``, ``L001``.

    Raises
    ------
    SpecError
        If there is no such data set.

    Examples
    --------
    >>> load_dataset("canty_complete").shape
    (473, 5)
    """
    if name not in DATASETS:
        raise SpecError(f"no data set '{name}'; data sets: {listing(DATASETS, 20)}")
    return _read(name)


def load_pedigree(name: str) -> pd.DataFrame:
    """Return the pedigree of a data set of the package that has one, **simulated** like its records.

    Parameters
    ----------
    name
        ``breeding``, ``calves``, ``growth``, ``lambs_scored`` or ``pens``.

    Returns
    -------
    DataFrame
        id, sire, dam; one row an animal, parents before offspring, NaN for unknown parents.

    Raises
    ------
    SpecError
        If there is none.

    Examples
    --------
    >>> load_pedigree("breeding").shape
    (600, 3)
    """
    _check_pedigree(name)
    return _read(f"{name}_pedigree")


def load_truth(name: str) -> Truth:
    """Return the true values that a **simulated** data set with a pedigree was made from.

    They are for judging estimates, not for fitting; the data and the pedigree do not hold them.

    Parameters
    ----------
    name
        ``breeding``, or ``lambs_scored``, whose truth is on the latent scale.

    Returns
    -------
    Truth
        The covariance matrices of all terms, the fixed effects, and the breeding value of every animal for each trait.

    Raises
    ------
    SpecError
        If the data set has none.

    Examples
    --------
    >>> load_truth("breeding").covariances["animal"].diagonal().tolist()
    [7.0, 0.3]
    """
    if name not in _WITH_TRUTH:
        raise SpecError(f"the truth of the data set '{name}' is not stored; stored: {listing(_WITH_TRUTH)}")
    return make_lambs_scored().truth if name == "lambs_scored" else true_values(_read(f"{name}_truth"))


def _check_pedigree(name: str) -> None:
    if name not in _WITH_PEDIGREE:
        raise SpecError(f"the data set '{name}' has no pedigree; with pedigree: {listing(_WITH_PEDIGREE)}")


def _read(stem: str) -> pd.DataFrame:
    with files(__name__).joinpath(f"{stem}.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream, dtype=dict.fromkeys(_LABELS, str))


def published_table() -> pd.DataFrame:
    """Return the published REML estimates of the reference trial, to the seven digits printed.

    The model is ``cbind(bden, veloc) ~ trait, random = ~ us(trait):Block + us(trait):Family, rcov = ~ units:us(trait)``
    in ASReml-R's words. The raw data of the trial are not public; the data sets ``canty`` and ``canty_complete`` are
    simulated so that they give these components again.

    Returns
    -------
    DataFrame
        term, trait_i, trait_j, component and std_error with ``us`` everywhere, and diag_component, the estimate with
        ``diag`` everywhere (NaN for covariances, which are then zero). The rows are in the order of
        ``RemlFit.varcomp``. The log-likelihoods are in :data:`PUBLISHED_LOGLIK`.
    """
    columns = ["term", "trait_i", "trait_j", "component", "std_error", "diag_component"]
    return pd.DataFrame(_PUBLISHED, columns=columns).astype(dict.fromkeys(columns[3:], float))
