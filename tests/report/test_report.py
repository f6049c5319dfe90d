"""The report: what it holds, that it stands alone, and that it can be read by everybody."""

import json
import re
from html.parser import HTMLParser

import not_gaussian
import numpy as np
import pytest
from traces import draws_around, make_design, records, trace_of

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.report.document import Code, Document, Heading, Line, Picture
from bayesmv.report.html import to_html
from bayesmv.report.terminal import rendered
from bayesmv.sampling.convergence import WEIGHTS

GENETIC = bmv.Genetic(term="family", relationship="half-sib")


def made(genetic=GENETIC, **words):
    data = records(t=2)
    data["site"] = ["<b>A</b>" if x > 0 else "B & C" for x in data["x"]]
    design = make_design(data=data, genetic=genetic, fixed="site + x", **words)
    fit = bmv.fit_reml(design)
    return design, fit, trace_of(design, draws_around(log_posterior(design), fit.theta, 2, 60), reml=fit)


@pytest.fixture(scope="module")
def page():
    design, fit, trace = made()
    return bmv.report(design, reml=fit, trace=trace, weights={"y1": 2.0})


class Outline(HTMLParser):
    """Headings, tables, pictures and links of a page."""

    def __init__(self, page):
        super().__init__()
        self.headings, self.tags, self.attributes = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


def test_report__has_every_part(page):
    for part in (
        "Data",
        "Model",
        "REML beside the posterior",
        "Genetic parameters",
        "Fixed effects and adjusted means",
        "Predicted effects",
        "Selection",
        "Priors and sensitivity",
        "Checks of the model",
        "Diagnostics of the sampler",
        "Methods, for a paper",
        "How to reproduce it",
    ):
        assert f">{part}</h2>" in page
    assert "y1 2, (as given)" in page.replace("y1 2 (as given)", "y1 2, (as given)")
    assert "Adjusted means of site" in page


def test_report__stands_alone(page):
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "@import" not in page
    names = r'xmlns(:\w+)?="[^"]*"|<metadata>.*?</metadata>|<!DOCTYPE[^>]*>'
    assert "http" not in re.sub(names, "", page, flags=re.DOTALL)


def test_report__names_of_users_are_text(page):
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "B &amp; C" in page
    assert "<b>A</b>" not in page


def test_report__can_be_read_by_everybody(page):
    """One title, no level left out, a name for every picture and table, header cells with a scope, a language."""
    outline = Outline(page)
    assert outline.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert ("html", "lang", "en") in outline.attributes
    named = [value for tag, name, value in outline.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(named) == outline.tags.count("svg") == outline.tags.count("figcaption") > 3
    assert all(named)
    assert outline.tags.count("caption") == outline.tags.count("table")
    scopes = [value for tag, name, value in outline.attributes if (tag, name) == ("th", "scope")]
    assert len(scopes) == outline.tags.count("th")
    ids = [value for _, name, value in outline.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_report__colours_have_contrast(page):
    """WCAG AA: 4.5 to 1 against white, of every colour of text in the style."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    style = page[page.index("<style>") : page.index("</style>")]
    found = set(re.findall(r"(?:[^-]color|--ink|--mark): (#[0-9a-f]{6})", style))
    assert len(found) >= 5
    assert all(1.05 / (luminance(colour) + 0.05) >= 4.5 for colour in found)


def test_report__of_a_model_without_genetic_term_and_random_terms(tmp_path):
    alone = make_design("", records(t=1))
    fit = bmv.fit_reml(alone)
    trace = trace_of(alone, draws_around(log_posterior(alone), fit.theta, 2, 60))
    text = bmv.report(alone, tmp_path / "r.html", reml=fit, trace=trace)
    assert "The model has no random term." in text
    assert "Selection</h2>" not in text
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == text


def test_report__of_traits_that_are_not_gaussian():
    """Families, both approximations beside the posterior, and parameters and means on the scale of the data."""
    spec = bmv.ModelSpec.from_formula(
        "z + c ~ x",
        random="us(trait):f",
        families={"z": "binary", "c": "poisson"},
        genetic=bmv.Genetic(term="f", relationship="half-sib"),
    )
    d = bmv.build_design(spec, not_gaussian.table())
    page = bmv.report(d, reml=bmv.fit_reml(d), trace=not_gaussian.draws_near_the_mode(d, np.arange(2), n=60))
    for part in (
        "z | η: binary, probit: residual variance 1",
        "variational",
        "Laplace",
        "On the scale of the data, posterior",
        "chi-square",
        "in units of the records",
        "share of 0",
        "Traits that are not Gaussian were modelled by their families",
    ):
        assert part in page


def test_report__says_how_draws_by_values_were_made():
    design, fit, trace = made()
    assert "after tuning" in bmv.report(design, reml=fit, trace=trace).split("Methods, for a paper")[-1]
    trace = trace.copy()
    trace.attrs[WEIGHTS] = json.dumps({"ess": 1200.0, "values": 2000, "k": 0.1, "bare": 0.0})
    methods = bmv.report(design, reml=fit, trace=trace).split("Methods, for a paper")[-1]
    assert "by adaptive importance sampling" in methods
    assert "ESS 1200 of 2000 values of the posterior" in methods
    assert "after tuning" not in methods


def test_report__of_censored_records_says_that_they_are_not_checked():
    spec = bmv.ModelSpec.from_formula(
        "t ~ x", random="f", families={"t": {"family": "censored", "lower": "t_low", "upper": "t_high"}}
    )
    d = bmv.build_design(spec, not_gaussian.table())
    page = bmv.report(d, reml=bmv.fit_reml(d), trace=not_gaussian.draws_near_the_mode(d, np.arange(2), n=60))
    assert "t | η: censored, between t_low and t_high" in page
    assert "Posterior predictive checks: there is nothing to check" in page


def test_report__weights_of_no_trait_are_refused():
    design, fit, trace = made()
    with pytest.raises(SpecError, match="weights name 'y9', which is not a trait"):
        bmv.report(design, reml=fit, trace=trace, weights={"y9": 1.0})


def test_parts__in_every_form():
    parts = (Heading("Title", 1), Heading("Part"), Code("a = 1 < 2"), Line("so it is", "good"))
    page = to_html(Document(sections=(parts,)), "A <title>")
    assert '<pre tabindex="0">a = 1 &lt; 2</pre>' in page
    assert "<title>A &lt;title&gt;</title>" in page
    assert '<a href="#part">Part</a>' in page
    picture = Picture(name="a picture", draw=lambda path: None)
    assert [str(rendered(part)) for part in (*parts, picture)] == [
        "Title",
        "Part",
        "a = 1 < 2",
        "so it is",
        "[picture: a picture]",
    ]


SUMMARIES = {
    "spec": (lambda design, fit: design.spec, "y1 + y2 ~ site + x, random"),
    "design": (lambda design, fit: design, "family: 8 levels, us of y1, y2"),
    "fit": (lambda design, fit: fit, "converged in"),
    "relationship": (lambda design, fit: bmv.Relationship.independent(["a", "b"]), "Relationship of 2 levels"),
    "prediction": (lambda design, fit: bmv.predict(fit, "site"), "x at its mean"),
}


@pytest.mark.parametrize("what", SUMMARIES)
def test_summary__is_short_and_has_a_form_for_notebooks(what):
    make, words = SUMMARIES[what]
    design, fit, _ = made()
    found = make(design, fit)
    assert words in repr(found)
    assert len(repr(found).splitlines()) < 20
    assert found._repr_html_().startswith("<p")
    assert words in str(found)
    assert "<b>A</b>" not in found._repr_html_()


def test_graph__of_terms():
    design, _, _ = made()
    dot = design.spec.graph()
    assert dot.startswith("digraph model {")
    assert '"us(trait):family" -> "y2";' in dot
    part = bmv.ModelSpec.from_formula("a + b ~ 1", random="at(trait, b):block")
    assert '"at(trait, b):block" -> "a";' not in part.graph()
