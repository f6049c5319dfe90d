"""When an evaluation of a posterior is dear, and what is then done in place of the usual."""

from __future__ import annotations

#: CPU seconds of an evaluation with its gradient over which draws are made to order.
_OVER = 1e-3
#: CPU seconds of a run of NUTS from which weighted points are tried, and the evaluations that it takes at least.
_DEAR, _OF_NUTS = 10.0, 20_000
#: Most parameters of weighted points.
_PARAMETERS = 20
#: Values of the density that weighted points take.
VALUES = 2_000


def to_order(cost: float) -> bool:
    """Whether a run of NUTS begins with few draws, by the CPU seconds of an evaluation."""
    return cost > _OVER


def values_suit(cost: float, n_parameters: int) -> bool:
    """Whether weighted points are tried before NUTS, by the CPU seconds of an evaluation with its gradient."""
    return 0 < n_parameters <= _PARAMETERS and cost * _OF_NUTS > _DEAR
