"""Bayesian multivariate (multi-trait) animal models: NUTS posteriors beside REML estimates."""

import os as _os
import signal as _signal
import sys as _sys

if _os.path.basename(_sys.argv[0] if _sys.argv else "") in ("bayesmv", "bayesmv.exe"):
    # Ctrl-C while the command line loads ends it without a word; programs that import bayesmv keep their handlers.
    _signal.signal(_signal.SIGINT, lambda *_: _os._exit(130))

from bayesmv._version import __version__
from bayesmv.checks.identifiability import identifiability
from bayesmv.comparison.likelihood_ratio import LikelihoodRatio, likelihood_ratio
from bayesmv.comparison.matrices import MatrixComparison, compare_matrices
from bayesmv.comparison.models import compare_models
from bayesmv.comparison.predictive import PredictiveDensity, predictive_density
from bayesmv.comparison.predictive_checks import predictive_checks
from bayesmv.comparison.programs import compare_programs
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.comparison.sensitivity import compare_priors, sensitivity
from bayesmv.design.design import Design, build_design
from bayesmv.design.widen import widen
from bayesmv.errors import ConvergenceWarning, DataError, PedigreeError, SpecError
from bayesmv.estimates.breeding_values import breeding_values, prediction_errors, trial_heritability
from bayesmv.estimates.components import correlation_matrix, variance_components
from bayesmv.estimates.data_scale import data_scale
from bayesmv.estimates.derived import Quantities, derive
from bayesmv.estimates.enriched import enrich, prior_predictive, records_of
from bayesmv.estimates.evolution import evolvability, price, principal_components
from bayesmv.estimates.family_numbers import family_numbers
from bayesmv.estimates.informed import informed_fraction
from bayesmv.estimates.loadings import factor_loadings
from bayesmv.estimates.observed_scale import observed_scale
from bayesmv.estimates.pairwise import Pairwise, pairwise
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.estimates.prediction import Prediction, predict
from bayesmv.estimates.profile import Profile, profile, profile_intervals
from bayesmv.estimates.residuals import residuals
from bayesmv.estimates.selection import independent_culling, selection, selection_intensity
from bayesmv.estimates.trajectory import covariance_function, trajectory
from bayesmv.estimates.wald import wald
from bayesmv.families import Family, family
from bayesmv.io.files import load_design
from bayesmv.io.importers import read_estimates
from bayesmv.io.propose import Proposal, propose
from bayesmv.io.relationships import read_relationship
from bayesmv.model.genetic import Genetic
from bayesmv.model.spec import ModelSpec
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT, half_cauchy
from bayesmv.priors.laws import Exponential, HalfNormal, InverseGamma, InverseWishart, LogNormal, PenalisedComplexity
from bayesmv.pymc_model import build_model
from bayesmv.relationship.genetic_groups import group_shares, without_groups
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.relationship.relationship import Relationship
from bayesmv.reml import RemlFit, blup, fit_reml, load_fit
from bayesmv.report.plots import (
    plot_comparison,
    plot_correlations,
    plot_effects,
    plot_ellipses,
    plot_field,
    plot_pairwise,
    plot_parameters,
    plot_plan,
    plot_prior,
    plot_profile,
    plot_residuals,
    plot_response,
    plot_study,
    plot_trajectory,
)
from bayesmv.report.study import report
from bayesmv.sampling.convergence import convergence
from bayesmv.sampling.sample import sample
from bayesmv.sampling.settings import SamplerSettings
from bayesmv.sampling.trace import load_posterior
from bayesmv.simulation.datasets import load_dataset, load_pedigree, published_table
from bayesmv.simulation.simulate import simulate_model, simulate_records, simulate_traits
from bayesmv.studies import Plan, StudySpec, plan, study, study_summary

__all__ = [
    "ConvergenceWarning",
    "CovariancePrior",
    "DataError",
    "Design",
    "Exponential",
    "Family",
    "Genetic",
    "HalfNormal",
    "HalfStudentT",
    "InverseGamma",
    "InverseWishart",
    "LikelihoodRatio",
    "LogNormal",
    "MatrixComparison",
    "ModelSpec",
    "Pairwise",
    "Pedigree",
    "PedigreeError",
    "PenalisedComplexity",
    "Plan",
    "Prediction",
    "PredictiveDensity",
    "Profile",
    "Proposal",
    "Quantities",
    "Relationship",
    "RemlFit",
    "SamplerSettings",
    "SpecError",
    "StudySpec",
    "__version__",
    "blup",
    "breeding_values",
    "build_design",
    "build_model",
    "compare_matrices",
    "compare_models",
    "compare_priors",
    "compare_programs",
    "compare_reml",
    "convergence",
    "correlation_matrix",
    "covariance_function",
    "data_scale",
    "derive",
    "enrich",
    "evolvability",
    "factor_loadings",
    "family",
    "family_numbers",
    "fit_reml",
    "genetic_parameters",
    "group_shares",
    "half_cauchy",
    "identifiability",
    "independent_culling",
    "informed_fraction",
    "likelihood_ratio",
    "load_dataset",
    "load_design",
    "load_fit",
    "load_pedigree",
    "load_posterior",
    "log_posterior",
    "observed_scale",
    "pairwise",
    "plan",
    "plot_comparison",
    "plot_correlations",
    "plot_effects",
    "plot_ellipses",
    "plot_field",
    "plot_pairwise",
    "plot_parameters",
    "plot_plan",
    "plot_prior",
    "plot_profile",
    "plot_residuals",
    "plot_response",
    "plot_study",
    "plot_trajectory",
    "predict",
    "prediction_errors",
    "predictive_checks",
    "predictive_density",
    "price",
    "principal_components",
    "prior_predictive",
    "profile",
    "profile_intervals",
    "propose",
    "published_table",
    "read_estimates",
    "read_relationship",
    "records_of",
    "report",
    "residuals",
    "sample",
    "selection",
    "selection_intensity",
    "sensitivity",
    "simulate_model",
    "simulate_records",
    "simulate_traits",
    "study",
    "study_summary",
    "trajectory",
    "trial_heritability",
    "variance_components",
    "wald",
    "widen",
    "without_groups",
]
