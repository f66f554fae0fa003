"""The probability flow of a law to integration accuracy: the witness for statements about the flow itself, not its steps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from theory.sampler import Flow


def integrated(flow: Flow, x: Tensor, times: Sequence[float], tolerance: float = 1e-9) -> list[Tensor]:
    """States at `times` (decreasing, the first is that of x), by an adaptive Runge-Kutta method of order 8.

    `tolerance` is relative to the size of x. Breaks at the schedule's kinks when they are among the times. Raises
    ArithmeticError when the integrator gives up.
    """
    states, scale = [x], float(x.abs().max())

    def velocity(t: float, state: np.ndarray) -> np.ndarray:
        return flow.velocity(torch.from_numpy(state).reshape(x.shape), torch.tensor(t, dtype=torch.float64)).numpy().ravel()

    for left, right in itertools.pairwise(times):
        start = states[-1].numpy().ravel()
        path = solve_ivp(velocity, (left, right), start, "DOP853", rtol=tolerance, atol=tolerance * scale)
        if not path.success:
            raise ArithmeticError(
                f"the flow could not be integrated from t = {left} to {right}: {path.message}; allowed: a finite velocity in "
                "between; remedy: break at the schedule's kinks, or stop short of noise 0"
            )
        states.append(torch.from_numpy(path.y[:, -1].copy()).reshape(x.shape))
    return states
