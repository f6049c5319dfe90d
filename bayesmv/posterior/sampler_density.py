"""Log density that the sampler sees: compiled where structures and priors have such a form, else in Python."""

from __future__ import annotations

from dataclasses import replace

from bayesmv.arrays import Array
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.priors.density import row_weights


class PlainDensity:
    """Log density of z in Python, for any structure and prior; some 100 µs an evaluation more than :class:`Density`."""

    def __init__(self, posterior: LogPosterior, centre: Array, root: Array) -> None:
        # Engines have scratch memory: one for each thread.
        self._posterior = replace(posterior, engine=posterior.engine.fork())
        self._centre, self._root = centre, root

    def __call__(self, z: Array) -> tuple[float, Array]:
        """Log density and gradient at z (d,); -inf and zeros where they are not finite."""
        value, by_x = self._posterior.value_and_gradient(self._centre + self._root @ z)
        return value, self._root.T @ by_x


def sampler_density(posterior: LogPosterior, centre: Array, root: Array, threads: int = 1) -> Density | PlainDensity:
    """Fastest density of a posterior; one serves that many threads if compiled, else one thread."""
    priors = [posterior.priors[name] for name in posterior.design.names]
    pairs = zip(posterior.blocks.structures, priors, strict=True)
    if all(prior.sd.compiled is not None and row_weights(s, prior) is not None for s, prior in pairs):
        return Density(posterior, centre, root, threads)
    return PlainDensity(posterior, centre, root)
