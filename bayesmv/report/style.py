"""One style for all pictures: colours that the colour-blind can tell, small labels, no chart junk."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmv.arrays import Array
from bayesmv.design.saved import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of posterior and REML, of the prior, and of further series (Okabe & Ito 2008).
POSTERIOR, REML, PRIOR = "#0072B2", "#D55E00", "#7A7A7A"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
#: Names of users stand as they are: a dollar sign begins no formula.
AS_IT_IS: dict[str, Any] = {"parse_math": False}
#: Width of a page, in inches, and its height.
PAGE = (7.5, 10.0)
#: Points of a density.
_GRID = 256


def new_figure(width: float, height: float) -> Figure:
    """Figure of its own, without pyplot, that notebooks show."""
    from matplotlib.figure import Figure as Plain

    class Figure(Plain):
        """Figure that shows itself in a notebook, whether or not pyplot was imported there."""

        def _repr_png_(self) -> bytes:
            out = io.BytesIO()
            with _silent_glyphs():
                self.savefig(out, format="png", dpi=110)
            return out.getvalue()

    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def _silent_glyphs() -> Iterator[None]:
    """A script that the font lacks is drawn as boxes, without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        yield


def panels(n: int, *, width: float = 2.5, height: float = 2.0, across: int | None = None) -> tuple[Any, list[Axes]]:
    """Figure with n panels in a grid that fits a page, and the panels.

    Parameters
    ----------
    n
        Number of panels.
    width, height
        Of each, in inches; smaller where there are many.
    across
        Panels side by side; by default as many as fit the page.
    """
    beside = across or max(1, min(n, int(PAGE[0] // width), int(np.ceil(np.sqrt(1.5 * n)))))
    rows = int(np.ceil(n / beside))
    tall = min(height, (PAGE[1] - 0.4) / rows)
    wide = min(width, PAGE[0] / beside)
    figure = new_figure(max(wide * beside, 2.8), max(tall * rows + 0.4, 2.0))
    drawn = list(figure.subplots(rows, beside, squeeze=False).reshape(-1))
    for ax in drawn[n:]:
        ax.set_axis_off()
    return figure, drawn[:n]


def given(ax: Axes | None, width: float = 4.0, height: float = 3.2) -> Axes:
    """Axes that were given, or those of a new figure."""
    if ax is not None:
        return ax
    made: Axes = new_figure(width, height).subplots()
    return made


def tidy(ax: Axes, title: str = "", x: str = "", y: str = "") -> Axes:
    """Axes with small labels and without a frame above and on the right."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=7)
    if title:
        ax.set_title(title, fontsize=8, **AS_IT_IS)
    if x:
        ax.set_xlabel(x, fontsize=8, **AS_IT_IS)
    if y:
        ax.set_ylabel(y, fontsize=8, **AS_IT_IS)
    return ax


def save(ax: Axes | Sequence[Axes], path: str | Path | None) -> None:
    """Write the figure of axes whole or not at all."""
    if path is None:
        return
    first: Any = ax[0] if isinstance(ax, Sequence) else ax
    with _silent_glyphs():
        write_whole(path, lambda part: first.figure.savefig(part, dpi=150))


def density(draws: Array, low: float = -np.inf, high: float = np.inf) -> tuple[Array, Array]:
    """Kernel density of draws on an interval, which ends where the parameter ends: draws are reflected there.

    Normal kernel, bandwidth by Silverman's rule of the robust spread; the grid ends at the bounds, or three bandwidths
    beyond the draws.
    """
    x = draws[np.isfinite(draws)]
    spread = min(float(x.std()), float(np.ptp(np.quantile(x, [0.25, 0.75]))) / 1.349) or float(x.std()) or 1e-12
    h = 0.9 * spread * len(x) ** -0.2
    grid = np.linspace(max(low, x.min() - 3 * h), min(high, x.max() + 3 * h), _GRID)
    parts = [x]
    if np.isfinite(low):
        parts.append(2.0 * low - x[x < low + 5 * h])
    if np.isfinite(high):
        parts.append(2.0 * high - x[x > high - 5 * h])
    every = np.sort(np.concatenate(parts))
    # By bins a twentieth of the bandwidth wide: linear in the draws.
    edges = np.arange(grid[0] - 6 * h, grid[-1] + 6 * h + h / 20, h / 20)
    counts, _ = np.histogram(every, edges)
    kernel = np.exp(-0.5 * (np.arange(-100, 101) / 20.0) ** 2) / (h * np.sqrt(2.0 * np.pi) * len(x))
    smooth = np.convolve(counts, kernel, mode="same")
    return grid, np.interp(grid, 0.5 * (edges[:-1] + edges[1:]), smooth)


def with_unit(word: str, unit: str) -> str:
    """Label of an axis: ``variance (kg²)``."""
    return f"{word} ({unit})" if unit else word


def squared(unit: str) -> str:
    """Unit of a variance: ``kg²``, ``(kg/m³)²``."""
    if not unit:
        return ""
    plain = unit.isalpha()
    return f"{unit}²" if plain else f"({unit})²"


def product(units: Mapping[str, str], one: str, other: str) -> str:
    """Unit of a covariance of two traits."""
    parts = [units.get(trait, "") for trait in (one, other)]
    if one == other:
        return squared(parts[0])
    return " · ".join(part for part in parts if part) if all(parts) else ""
