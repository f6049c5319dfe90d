"""Report of a study: everything that a reader of a paper, or its reviewer, asks for, in one document."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv._version import __version__
from bayesmv.checks.identifiability import identifiability
from bayesmv.checks.relationships import relationship_information
from bayesmv.comparison.predictive_checks import predictive_checks
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.comparison.sensitivity import sensitivity
from bayesmv.design.design import Design
from bayesmv.design.saved import write_whole
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError
from bayesmv.estimates.breeding_values import breeding_values, trial_heritability
from bayesmv.estimates.enriched import prior_predictive
from bayesmv.estimates.family_numbers import family_numbers
from bayesmv.estimates.informed import informed_fraction
from bayesmv.estimates.observed_scale import observed_scale
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.estimates.prediction import PAIRED, predict
from bayesmv.estimates.residuals import residuals
from bayesmv.estimates.selection import selection
from bayesmv.estimates.source import estimates_of
from bayesmv.estimates.wald import wald
from bayesmv.reml.fit import fit_reml
from bayesmv.reml.result import RemlFit
from bayesmv.report import plots
from bayesmv.report.document import Code, Column, Document, Heading, Line, Part, Picture, Section, Table
from bayesmv.report.documents import convergence_line, note_lines, shared
from bayesmv.report.html import to_html
from bayesmv.report.tables import (
    checks_table,
    comparison_table,
    effects_table,
    expected_table,
    fixed_table,
    information_table,
    legend,
    lsd_table,
    parameter_table,
    prediction_table,
    relationships_table,
    selection_table,
    sensitivity_table,
    traits_table,
    trial_table,
    wald_table,
    word_column,
)
from bayesmv.sampling.convergence import convergence
from bayesmv.sampling.sample import sample

#: Levels of a term whose effects are tabled and drawn, and the most for which a trial heritability is computed.
_SHOWN, _TRIAL = 10, 1000

_VERDICTS = (
    "The verdict of a row says how the posterior stands to REML. agree: the posterior median is within half a "
    "posterior standard deviation of the REML estimate. differ k: it is k posterior standard deviations away; look at "
    "the prior and at the number of levels. bound: the REML matrix is singular, and standard errors there mean little. "
    "prior: the data narrowed the parameter so little that the answer is mostly that of the prior. undet.: a "
    "correlation whose 95 % interval is wider than 0.95."
)

_APPROXIMATE = (
    "Where a trait is not Gaussian the restricted likelihood has no closed form. Its variational approximation is "
    "maximised; beside it stands that of Laplace, which ASReml, lme4 and others have and which underestimates "
    "variances of binary traits with few records a level. The posterior is exact."
)

_SENSITIVITY = (
    "Sensitivity is how far a distribution moves when the prior, or the likelihood, is raised to a power near 1 "
    "(power-scaling); from 0.05 on it moves. Where only the prior moves it, the prior decides; where both do, prior "
    "and data say different things."
)

_CITATIONS = (
    "Patterson & Thompson (1971), Biometrika 58:545-554 (REML); Gilmour, Thompson & Cullis (1995), Biometrics "
    "51:1440-1450 (average information); Henderson (1975), Biometrics 31:423-447 (BLUP); Lewandowski, Kurowicka & Joe "
    "(2009), J. Multivar. Anal. 100:1989-2001 (LKJ prior); Hoffman & Gelman (2014), J. Mach. Learn. Res. 15:1593-1623 "
    "(NUTS); Vehtari et al. (2021), Bayesian Anal. 16:667-718 (R-hat, effective sample size); Kallioinen et al. "
    "(2024), Stat. Comput. 34:57 (power-scaling); Kenward & Roger (1997), Biometrics 53:983-997 (denominators)."
)
_CITATIONS_OF_POINTS = (
    " Of weighted points: Owen & Zhou (2000), J. Am. Stat. Assoc. 95:135-143; Cornuet et al. (2012), Scand. J. Stat. "
    "39:798-812; Zhang & Stephens (2009), Technometrics 51:316-325 (Pareto k)."
)
_CITATIONS_OF_FAMILIES = (
    " Of traits that are not Gaussian: Opper & Archambeau (2009), Neural Comput. 21:786-792 (variational "
    "approximation); de Villemereuil et al. (2016), Genetics 204:1281-1294 (scale of the data); Dunn & Smyth (1996), "
    "J. Comput. Graph. Stat. 5:236-244 (quantile residuals)."
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Material of a report.

    Parameters
    ----------
    design
        The design.
    fit
        Its REML fit.
    trace
        Its posterior.
    weights
        Economic weights by trait, for the part on selection; empty for each trait by its phenotypic sd.
    share
        Share that is selected.
    """

    design: Design
    fit: RemlFit
    trace: xr.DataTree
    weights: Mapping[str, float] = field(default_factory=dict)
    share: float = 0.05


def report(
    design: Design,
    path: str | Path | None = None,
    *,
    reml: RemlFit | None = None,
    trace: xr.DataTree | None = None,
    weights: Mapping[str, float] | None = None,
    share: float = 0.05,
    **words: Any,
) -> str:
    """Report of a model on its data, as one self-contained HTML page.

    Data and what was left out; the model in words and equations; what the data can tell; REML beside the posterior with
    verdicts; genetic parameters; tests of fixed effects and adjusted means; predicted effects; selection; priors and
    sensitivity; checks of the model; diagnostics; a paragraph of methods with citations; versions and how to reproduce.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.
    path
        Where to write the page; None for nowhere.
    reml, trace
        REML fit and posterior; fitted and sampled if not given.
    weights
        Economic weights by trait; by default one for each phenotypic standard deviation.
    share
        Share that is selected.
    words
        Settings of :func:`bayesmv.sample`.

    Returns
    -------
    str
        The page.

    Raises
    ------
    SpecError
        If fit or posterior are of another design, or a weight is of no trait.
    OSError
        If the file cannot be written; one that stood there stays as it was.
    """
    fit = fit_reml(design) if reml is None else reml
    drawn = sample(design, reml=fit, **words) if trace is None else trace
    study = Study(design=design, fit=fit, trace=drawn, weights=weights or {}, share=share)
    document = study_document(study)
    page = to_html(document, design.spec.title or design.spec.name)
    if path is not None:
        write_whole(path, lambda part: part.write_text(page, encoding="utf-8"))
    return page


def study_document(study: Study) -> Document:
    """Document of a report."""
    spec, verdict = study.design.spec, convergence(study.trace)
    sections: list[Section] = [
        (Heading(spec.title or spec.name, 1), Line(str(spec)), _headline(study)),
        _data(study),
        _model(study),
        _comparison(study),
        *([_genetic(study)] if spec.genetic is not None else []),
        _fixed(study),
        _effects(study),
        *([_selection(study)] if spec.genetic is not None else []),
        _priors(study),
        _checks(study),
        _diagnostics(study),
        _methods(study),
        _reproduce(study),
    ]
    return Document(
        sections=tuple(sections),
        main="comparison",
        notes=study.design.notes,
        converged=verdict.converged and study.fit.converged,
    )


def _headline(study: Study) -> Line:
    """Result in a sentence."""
    if study.design.spec.genetic is None:
        return Line(study.fit.state)
    table = genetic_parameters(study.trace).query("parameter == 'heritability'")
    words = [
        f"{row['trait_i']} {row['median']:.2f} ({row['hdi_low']:.2f} to {row['hdi_high']:.2f})"
        for _, row in table.iterrows()
    ]
    if not words:
        return Line(study.fit.state)
    return Line(f"Heritability, posterior median and 95 % interval: {', '.join(words)}.")


def _data(study: Study) -> Section:
    design = study.design
    parts: list[Part] = [
        Heading("Data"),
        Line(f"{len(design.units)} units with {design.n_records} records of {len(design.traits)} traits."),
        traits_table(design),
        *note_lines(design.notes),
    ]
    if not design.notes:
        parts.append(Line("Nothing was left out or changed."))
    return tuple(parts)


def _model(study: Study) -> Section:
    """The model in words and equations, and what the data can tell about it."""
    design, information = study.design, identifiability(study.design)
    words = [
        f"Every trait has the fixed effects {design.spec.fixed_formula}; effects of a level are correlated between "
        f"traits as the matrices below say."
    ]
    for term in design.terms:
        related = "related as stated" if term.relationship is not None else "independent of each other"
        words.append(
            f"{term.name}: effects of {len(term.levels)} levels, {related}, with a {term.structure.name} covariance "
            f"matrix among {', '.join(term.effects)}."
        )
    sums = " + ".join(f"Z_{k} u_{k}" for k in range(1, len(design.terms) + 1))
    equation = [f"y = X b + {sums} + e" if sums else "y = X b + e"]
    equation += [
        f"u_{k} ~ N(0, Σ_{k} ⊗ {'K_' + str(k) if term.relationship is not None else 'I'})    {term.name}"
        for k, term in enumerate(design.terms, 1)
    ]
    equation.append(f"e ~ N(0, R ⊗ I)    {RESIDUAL}, {design.residual.structure.name}")
    if not design.gaussian:
        equation[0] = equation[0].replace("y", "η", 1)
        equation += [f"{trait} | η: {each.family}, {each.told}" for trait, each in design.spec.families.items()]
    kin = relationship_information(design)
    warnings = [Line(f"beware: {warning}", "warning") for i in information for warning in i.warnings]
    tables: list[Part] = [information_table(information), *([relationships_table(kin)] if kin else [])]
    return (
        Heading("Model"),
        *map(Line, words),
        Code("\n".join(equation)),
        Heading("What the data can tell", 3),
        *tables,
        *(warnings or [Line("Every covariance matrix has levels enough to be estimated.", "good")]),
    )


def _comparison(study: Study) -> Section:
    approximate = not study.design.gaussian
    laplace = fit_reml(study.design, engine="laplace") if approximate else None
    frame, numbers = compare_reml(study.trace, study.fit, laplace=laplace), family_numbers(study.trace)
    return (
        Heading("REML beside the posterior"),
        Line(study.fit.state),
        *([Line(_APPROXIMATE, "note")] if approximate else []),
        comparison_table(frame),
        *([parameter_table("families", "Numbers of families, posterior", numbers)] if len(numbers) else []),
        *(Line(words, "note") for words in legend(frame["verdict"])),
        Line(_VERDICTS),
        Picture(
            name="Posterior densities with REML estimates and their 95 % intervals",
            draw=lambda path: plots.plot_comparison(study.trace, study.fit, path),
        ),
    )


def _genetic(study: Study) -> Section:
    genetic = study.design.spec.genetic
    assert genetic is not None
    parts: list[Part] = [
        Heading("Genetic parameters"),
        Line(f"Of {genetic.term}, levels related as {genetic.relationship}."),
        parameter_table("genetic_reml", "REML", genetic_parameters(study.fit)),
        parameter_table("genetic", "Posterior", genetic_parameters(study.trace)),
    ]
    if not study.design.gaussian:
        title = "On the scale of the data, posterior"
        parts.append(parameter_table("observed", title, observed_scale(study.trace, design=study.design)))
    if len(study.design.term(genetic.term).effects) > 1:
        parts.append(
            Picture(
                name=f"Covariance of {genetic.term} of the first two effects: ellipses that hold 95 % of the effects, "
                "posterior draws and mean (blue), REML (orange)",
                draw=lambda path: _ellipses(study, genetic.term, path),
            )
        )
    return tuple(parts)


def _ellipses(study: Study, term: str, path: Path) -> None:
    ax = plots.plot_ellipses(study.trace, term=term)
    plots.plot_ellipses(study.fit, term=term, ax=ax, path=path)


def _fixed(study: Study) -> Section:
    design = study.design
    parts: list[Part] = [
        Heading("Fixed effects and adjusted means"),
        fixed_table(study.fit),
        wald_table(wald(study.fit)),
    ]
    factors = [name for name, levels in design.fixed.factors(design.table).items() if len(levels) <= PAIRED]
    for name in factors[:3]:
        found = predict(study.fit, name)
        parts.append(Heading(f"Means of {name}", 3))
        parts.append(replace(prediction_table(found), name=f"means_{name}", title=f"Adjusted means of {name}"))
        if found.expected is not None:
            title = f"Means of {name} on the scale of the data"
            parts.append(replace(expected_table(found), name=f"expected_{name}", title=title))
        if len(found.cells) > 1:
            parts.append(replace(lsd_table(found.lsd()), name=f"lsd_{name}"))
        parts += [Line(words, "note") for words in found.said]
    return tuple(parts)


def _effects(study: Study) -> Section:
    """Predicted effects of the genetic term, or of the first."""
    design = study.design
    genetic = design.spec.genetic
    if not design.terms:
        return (Heading("Predicted effects"), Line("The model has no random term."))
    name = design.terms[0].name if genetic is None else genetic.term
    part = design.term(name)
    table = breeding_values(study.fit, name)
    best = table[table["rank"] <= _SHOWN].sort_values(["trait", "rank"], kind="stable", ignore_index=True)
    parts: list[Part] = [
        Heading("Predicted effects"),
        replace(effects_table(table), frame=best, title=f"Effects of {name} by REML, the best {_SHOWN} of each trait"),
    ]
    if design.gaussian and len(part.levels) * len(part.effects) <= _TRIAL:
        parts.append(trial_table(trial_heritability(study.fit, name)))
    parts.append(
        Picture(
            name=f"Effects of {name} in order, with 95 % intervals",
            draw=lambda path: plots.plot_effects(study.fit, name, path, most=40),
        )
    )
    return tuple(parts)


def _selection(study: Study) -> Section:
    design = study.design
    if not design.gaussian:
        return _selection_of_records(study)
    weights = dict(study.weights) or {
        trait: 1.0 / float(scale) for trait, scale in zip(design.traits, design.scale, strict=True)
    }
    said = "as given" if study.weights else "one for each phenotypic standard deviation"
    frame = selection(study.trace, weights, share=study.share, index=study.fit)
    words = ", ".join(f"{trait} {weight:.4g}" for trait, weight in weights.items())
    return (
        Heading("Selection"),
        Line(
            f"The best {study.share:.0%} of many candidates are selected by their own records, on the index that is "
            f"best by REML for the economic weights {words} ({said}). Responses of a generation, with their posterior "
            f"distribution; regret is the share of the possible merit that this index loses."
        ),
        selection_table(frame),
        Picture(
            name="Response of every trait to selection, in additive genetic standard deviations",
            draw=lambda path: plots.plot_response(study.trace, weights, share=study.share, index=study.fit, path=path),
        ),
    )


def _selection_of_records(study: Study) -> Section:
    """Selection on the scale of the data, where traits are not Gaussian."""
    design = study.design
    spread = np.nanstd(design.response, axis=0)
    weights = dict(study.weights) or {t: 1.0 / float(sd) for t, sd in zip(design.traits, spread, strict=True)}
    said = "as given" if study.weights else "one for each standard deviation of the records"
    words = ", ".join(f"{trait} {weight:.4g}" for trait, weight in weights.items())
    frame = selection(study.trace, weights, share=study.share, scale="data", design=design)
    return (
        Heading("Selection"),
        Line(
            f"The best {study.share:.0%} of many candidates are selected by their own records, on the best index of "
            f"each draw for the economic weights {words} ({said}). Responses of a generation are in units of the "
            f"records: shares of classes, scores and counts; to first order in the response."
        ),
        selection_table(frame),
    )


def _priors(study: Study) -> Section:
    record = estimates_of(study.trace).record
    parts: list[Part] = [
        Heading("Priors and sensitivity"),
        *(Line(f"Prior of {names}: {prior}.") for names, prior in shared(record.prior_words).items()),
    ]
    if set(record.priors) >= set(record.names):
        parts.append(sensitivity_table(sensitivity(study.trace, study.design)))
        parts.append(Line(_SENSITIVITY))
        parts += _prior_picture(study)
    return tuple(parts)


def _prior_picture(study: Study) -> list[Part]:
    """Picture of the priors beside the posterior; nothing where a prior has no draws."""
    try:
        tree = prior_predictive(study.design, estimates_of(study.trace).record.priors)
    except SpecError:
        return []
    name = "What the priors say (grey) beside the posterior (blue), and the spread of records that they predict"
    return [Picture(name=name, draw=lambda path: plots.plot_prior(tree, study.trace, path))]


def _checks(study: Study) -> Section:
    design = study.design
    frame = residuals(study.fit)
    flagged = frame[frame["outlier"]]
    said = Line("No standardised residual is beyond what the largest of so many reaches with a chance of 5 %.", "good")
    if not flagged.empty:
        rows = [f"{r['unit']} ({r['trait']}, {r['standardised']:.1f})" for _, r in flagged.head(20).iterrows()]
        words = f"{len(flagged)} records stand out by their standardised residuals: {', '.join(rows)}"
        said = Line(words, "warning")
    checks: list[Part]
    try:
        checks = [
            checks_table(predictive_checks(study.trace, design)),
            Line(
                "p is the posterior predictive probability, two-sided; small values show what the model does not make.",
                "note",
            ),
        ]
    except SpecError as error:  # no statistic of such data, as of censored records
        checks = [Line(f"Posterior predictive checks: {error}.", "note")]
    return (
        Heading("Checks of the model"),
        *checks,
        Picture(
            name="Standardised residuals: against normal quantiles, against fitted values, by level",
            draw=lambda path: plots.plot_residuals(study.fit, path=path),
        ),
        said,
    )


def _diagnostics(study: Study) -> Section:
    attributes: Sequence[tuple[str, object]] = (
        ("engine", study.trace.attrs["engine"]),
        ("seed", int(study.trace.attrs["seed"])),
        ("tuning draws per chain", int(study.trace.attrs["tune"])),
    )
    informed: list[Part] = []
    if not study.design.gaussian:
        shares = informed_fraction(study.trace)
        words = ", ".join(f"{r['term']} {r['effect']} {r['informed']:.2f}" for _, r in shares.iterrows())
        informed.append(Line(f"Mean share of the prior variance of effects that the records take away: {words}."))
    return (
        Heading("Diagnostics of the sampler"),
        convergence_line(convergence(study.trace)),
        *informed,
        *(Line(f"{name}: {value}") for name, value in attributes),
    )


def _methods(study: Study) -> Section:
    design, verdict = study.design, convergence(study.trace)
    terms = ", ".join(f"{t.name} ({t.structure.name})" for t in design.terms) or "none"
    families = "; ".join(f"{trait} {each.family}, {each.told}" for trait, each in design.spec.families.items())
    of_families = f" Traits that are not Gaussian were modelled by their families ({families})." if families else ""
    how = "a variational approximation" if families else "average information"
    effects = "drawn with them" if families else "integrated out exactly"
    sampled = f"by Markov chain Monte Carlo (NUTS; {verdict.chains} chains of {verdict.draws} draws after tuning)"
    judged = (
        f"Convergence was judged by R-hat (at most {verdict.worst_rhat:.3f}) and effective sample sizes (at least "
        f"{verdict.smallest_ess:.0f})"
    )
    if verdict.weights:
        sampled = "by adaptive importance sampling (mixtures of multivariate t, scrambled Sobol points)"
        judged = f"The points were judged by their weights ({verdict.weights})"
    text = (
        f"A {'multi-trait' if len(design.traits) > 1 else 'single-trait'} mixed model was fitted to {design.n_records} "
        f"records of {', '.join(design.traits)} on {len(design.units)} units, with the fixed effects "
        f"{design.spec.fixed_formula} and the random terms {terms}.{of_families} (Co)variances were estimated by "
        f"restricted maximum likelihood ({how}) and, under the priors stated above, {sampled}, with fixed and random "
        f"effects {effects}, in bayesmv {__version__}. {judged}. Intervals are 95 % highest-density intervals."
    )
    cited = _CITATIONS + (_CITATIONS_OF_FAMILIES if families else "")
    return Heading("Methods, for a paper"), Line(text), Line(cited + (_CITATIONS_OF_POINTS if verdict.weights else ""))


def _reproduce(study: Study) -> Section:
    packages = ("bayesmv", "numpy", "scipy", "pandas", "xarray", "nutpie", "arviz")
    frame_rows = [{"package": name, "version": version(name)} for name in packages]
    frame_rows.append({"package": "Python", "version": platform.python_version()})
    table = Table(
        name="versions",
        title="Versions",
        frame=pd.DataFrame(frame_rows),
        columns=(word_column("package"), Column(header="version", show=lambda row: str(row["version"]), words=True)),
    )
    spec = study.design.spec
    try:
        model = spec.to_toml()
    except ValueError:
        model = f"{spec}\n# with priors of classes that a model file cannot hold"
    command = f"bayesmv report {spec.name}.toml --seed {int(study.trace.attrs['seed'])} -o report.html"
    return Heading("How to reproduce it"), table, Code(f"{model}\n# {command}")
