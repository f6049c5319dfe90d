"""Bayesian multivariate (multi-trait) animal models: NUTS posteriors beside REML estimates."""

from bayesmv._version import __version__
from bayesmv.builders import build_model
from bayesmv.compare import compare_reml
from bayesmv.curves import correlation_matrix, covariance_function, trajectory
from bayesmv.datasets import load_dataset, load_pedigree, published_table
from bayesmv.design import Design, build_design
from bayesmv.diagnostics import convergence
from bayesmv.errors import ConvergenceWarning, DataError, PedigreeError, SpecError
from bayesmv.groups import group_shares, without_groups
from bayesmv.identifiability import identifiability
from bayesmv.io import load_design
from bayesmv.loadings import factor_loadings
from bayesmv.pedigree import Pedigree
from bayesmv.plots import plot_comparison, plot_correlations, plot_trajectory
from bayesmv.posterior import log_posterior
from bayesmv.predictive import PredictiveDensity, predictive_density
from bayesmv.priors import CovariancePrior, HalfStudentT
from bayesmv.ranking import compare_models
from bayesmv.relationship import Relationship
from bayesmv.reml import LikelihoodRatio, RemlFit, blup, fit_reml, likelihood_ratio
from bayesmv.reshape import widen
from bayesmv.sampling import load_posterior, sample
from bayesmv.simulate import simulate_model, simulate_records, simulate_traits
from bayesmv.spec import Genetic, ModelSpec
from bayesmv.summary import breeding_values, genetic_parameters, variance_components

__all__ = [
    "ConvergenceWarning",
    "CovariancePrior",
    "DataError",
    "Design",
    "Genetic",
    "HalfStudentT",
    "LikelihoodRatio",
    "ModelSpec",
    "Pedigree",
    "PedigreeError",
    "PredictiveDensity",
    "Relationship",
    "RemlFit",
    "SpecError",
    "__version__",
    "blup",
    "breeding_values",
    "build_design",
    "build_model",
    "compare_models",
    "compare_reml",
    "convergence",
    "correlation_matrix",
    "covariance_function",
    "factor_loadings",
    "fit_reml",
    "genetic_parameters",
    "group_shares",
    "identifiability",
    "likelihood_ratio",
    "load_dataset",
    "load_design",
    "load_pedigree",
    "load_posterior",
    "log_posterior",
    "plot_comparison",
    "plot_correlations",
    "plot_trajectory",
    "predictive_density",
    "published_table",
    "sample",
    "simulate_model",
    "simulate_records",
    "simulate_traits",
    "trajectory",
    "variance_components",
    "widen",
    "without_groups",
]
