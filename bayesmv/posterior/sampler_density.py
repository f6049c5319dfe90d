"""The log density that the sampler sees: compiled where all of it compiles, else all of it in Python."""

from __future__ import annotations

from dataclasses import replace

from bayesmv.arrays import Array
from bayesmv.posterior.compiled import Density, compiles
from bayesmv.posterior.log_posterior import LogPosterior


class PlainDensity:
    """Log density of z in Python, for any posterior; some 100 µs an evaluation more than :class:`Density`."""

    def __init__(self, posterior: LogPosterior, centre: Array, root: Array) -> None:
        # Engines have scratch memory: one for each thread.
        self._posterior = replace(posterior, engine=posterior.engine.fork())
        self._centre, self._root = centre, root

    def __call__(self, z: Array) -> tuple[float, Array]:
        """Log density and gradient at z (d,); -inf and zeros where they are not finite."""
        value, by_x = self._posterior.value_and_gradient(self._centre + self._root @ z)
        return value, self._root.T @ by_x


def sampler_density(posterior: LogPosterior, centre: Array, root: Array, threads: int = 1) -> Density | PlainDensity:
    """Return the fastest density of a posterior; one serves that many threads if compiled, else one thread."""
    return Density(posterior, centre, root, threads) if compiles(posterior) else PlainDensity(posterior, centre, root)
