"""Manual of bayesmv: Sphinx with MyST, executed notebooks and numpydoc."""

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Notebooks run in processes of their own.
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("OMP_NUM_THREADS", "1")

from bayesmv import __version__

project, author, release = "bayesmv", "the bayesmv developers", __version__
copyright = "the bayesmv developers"
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build", "jupyter_execute"]
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = False
autodoc_typehints = "none"
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = f"bayesmv {__version__}"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "use_edit_page_button": False}
html_sidebars = {"**": []}


# Links that lead out of the manual

#: Pages of the manual that files beside it are.
_PAGES = {"README.md": "first_page.md", "models/README.md": "shipped_models.md"}


def _linked(text: str, folder: str, root: str) -> str:
    """Text whose links to files beside the manual lead to its pages, or are words where there is no page.

    `folder` is that of the text in the repository, `root` the way from the page to the manual's first page.
    """

    def target(found: re.Match[str]) -> str:
        words, path, anchor = found[1], found[2], found[3] or ""
        if path.startswith(("http", "mailto", "#")) or not path:
            return found[0]
        place = os.path.normpath(os.path.join(folder, path))
        if place in _PAGES:
            return f"[{words}]({root}{_PAGES[place]}{anchor})"
        if place.startswith("docs/"):
            return f"[{words}]({root}{place.removeprefix('docs/')}{anchor})"
        return words

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#\s]*)(#[^)]*)?\)", target, text)


def _page(app: object, name: str, content: list[str]) -> None:
    folder = os.path.normpath(os.path.join("docs", os.path.dirname(name)))
    content[0] = _linked(content[0], folder, "../" * name.count("/"))


def _included(app: object, path: Path, name: str, content: list[str]) -> None:
    root = Path(__file__).resolve().parent.parent
    folder = os.path.relpath(Path(app.srcdir, path).resolve().parent, root)  # type: ignore[attr-defined]
    content[0] = _linked(content[0], os.path.normpath(folder), "")


def setup(app: object) -> None:
    """Register what rewrites links."""
    app.connect("source-read", _page)  # type: ignore[attr-defined]
    app.connect("include-read", _included)  # type: ignore[attr-defined]
