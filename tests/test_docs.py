"""Pages of docs/: model files that they show are read, terms that they name are parsed, links lead somewhere."""

import re
from pathlib import Path

import pytest

from bayesmv.model.formula import parse_random, parse_residual
from bayesmv.model.spec import ModelSpec

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)


def blocks(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_model_files__are_read(page):
    for text in blocks(page, "toml"):
        if "traits" not in text:
            continue  # a part of one
        spec = ModelSpec.from_toml(text)
        assert ModelSpec.from_toml(spec.to_toml()) == spec


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links__lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_language__terms_of_its_tables_are_parsed():
    text = (DOCS / "models.md").read_text(encoding="utf-8")
    random, residual = text.split("## Residuals")[0], text.split("## Residuals")[1].split("## Parameters")[0]
    terms = [
        term for row in re.findall(r"^\| (`.*?`) \|", random, re.MULTILINE) for term in re.findall(r"`([^`]+)`", row)
    ]
    terms = [term for term in terms if "(" in term]
    assert len(terms) >= 20
    for term in terms:
        assert parse_random(term, 1)
    residuals = re.findall(r"^\| `(.*?)` \|", residual, re.MULTILINE)
    assert len(residuals) == 5
    for term in residuals:
        assert parse_residual(term, 3)
