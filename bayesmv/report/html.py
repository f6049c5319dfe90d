"""Documents as one self-contained HTML page: no file and no script from elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import singledispatch
from html import escape
from pathlib import Path

from bayesmv.report.document import Code, Document, Heading, Line, Part, Picture, Table

_CSS = """
:root { --ink: #1b1b1b; --soft: #555; --rule: #d9d9d9; --back: #fff; --mark: #0b5a8a; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.2rem 4rem; color: var(--ink); background: var(--back);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p { margin: .5rem 0; overflow-wrap: anywhere; }
p.note { color: #3d4f5c; } p.warning { color: #7a4b00; } p.good { color: #1c6b2a; }
p.bad { color: #a31515; font-weight: 600; }
nav { font-size: .9rem; margin: .8rem 0 0; } nav a { margin-right: .9rem; } a { color: var(--mark); }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .22rem .7rem .22rem 0; text-align: right; vertical-align: top; white-space: nowrap; }
th.w, td.w { text-align: left; white-space: normal; }
thead th { border-bottom: 1px solid var(--ink); font-weight: 600; }
tbody tr { border-bottom: 1px solid var(--rule); }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid var(--mark); }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
figcaption { font-size: .86rem; color: var(--soft); }
pre { overflow-x: auto; background: #f5f5f5; padding: .7rem .9rem; font-size: .82rem; line-height: 1.4; }
@media print { nav { display: none; } body { max-width: none; font-size: 10pt; padding: 0; }
  h2 { break-after: avoid; } figure, .wide { break-inside: avoid; overflow: visible; } }
"""

_SCRIPT = """
document.querySelectorAll("th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var th = button.parentNode, table = th.closest("table"), body = table.tBodies[0];
    var column = Array.prototype.indexOf.call(th.parentNode.children, th);
    var down = th.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    function key(row) { var text = row.cells[column].textContent, number = parseFloat(text.replace("\\u2013", "NaN"));
      return isNaN(number) ? text : number; }
    Array.from(body.rows).sort(function (a, b) {
      var x = key(a), y = key(b), order = typeof x === "number" && typeof y === "number" ? x - y
        : String(x).localeCompare(String(y));
      return down ? -order : order;
    }).forEach(function (row) { body.appendChild(row); });
  });
});
"""


def to_html(document: Document, title: str, language: str = "en") -> str:
    """Page of a document.

    Parameters
    ----------
    document
        What there is to say.
    title
        Title of the page.
    language
        Language of the text.
    """
    body = "\n".join(_parts(document))
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _parts(document: Document) -> Iterator[str]:
    headings = [part for section in document.sections for part in section if isinstance(part, Heading)]
    listed = [part for part in headings if part.level == 2]
    for section in document.sections:
        for part in section:
            yield rendered(part)
            if isinstance(part, Heading) and part.level == 1 and listed:
                links = "".join(f'<a href="#{_anchor(h.text)}">{escape(h.text)}</a>' for h in listed)
                yield f'<nav aria-label="Contents">{links}</nav>'


def _anchor(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower()).strip("-")


@singledispatch
def rendered(part: Part) -> str:
    """HTML of a part; names and labels are text, never markup."""
    raise NotImplementedError(type(part).__name__)


@rendered.register
def _(part: Heading) -> str:
    anchor = f' id="{_anchor(part.text)}"' if part.level > 1 else ""
    return f"<h{part.level}{anchor}>{escape(part.text)}</h{part.level}>"


@rendered.register
def _(part: Line) -> str:
    return f'<p class="{part.kind}">{escape(part.text)}</p>'


@rendered.register
def _(part: Code) -> str:
    return f'<pre tabindex="0">{escape(part.text)}</pre>'


@rendered.register
def _(part: Table) -> str:
    marks = [' class="w"' if column.words else "" for column in part.columns]
    head = "".join(
        f'<th scope="col"{mark}>' + (f"<button>{escape(column.header)}</button>" if column.header else "") + "</th>"
        for column, mark in zip(part.columns, marks, strict=True)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{m}>{escape(c.show(row))}</td>" for c, m in zip(part.columns, marks, strict=True))
        + "</tr>"
        for _, row in part.frame.iterrows()
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(part.title)}">'
        f"<table><caption>{escape(part.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


@rendered.register
def _(part: Picture) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.svg"
        part.draw(path)
        text = path.read_text(encoding="utf-8")
    svg = text[text.index("<svg") :]
    # Names of clip paths and glyphs are those of one picture: another on the page must not share them.
    mark = f"p{abs(hash(part.name)) % 10**8}"
    svg = svg.replace('id="', f'id="{mark}').replace('href="#', f'href="#{mark}').replace("url(#", f"url(#{mark}")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(part.name)}"', 1)
    return f"<figure>{svg}<figcaption>{escape(part.name)}</figcaption></figure>"
