"""Saddle points of the smoothed objective: the choice. `ovpnet.training.diagnostics.saddles` measures them."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from ovpnet.spec.diagnostic import Diagnostic, diagnostic

if TYPE_CHECKING:
    from ovpnet.engine.steps import State
    from ovpnet.spec.config import Config
    from ovpnet.training.diagnostics.measured import Measure, Measured


@diagnostic("saddles")
class Saddles(Diagnostic):
    """Gradients and curvature of the smoothed objective, and visits to its saddle points (Section 6.4, Lemma 6.7)."""

    columns: ClassVar = {
        "objective": "the objective on the whole training set, with the regularizer, without smoothing",
        "gradient_norm": "norm of its gradient",
        "smoothed_gradient_norm": "norm of the smoothed objective's gradient",
        "decay_decrease": "decrease of the smoothed objective by one decay of lambda",
        "smallest_eigenvalue": "of the smoothed objective's mean Hessian over the draws",
        "largest_eigenvalue": "of the smoothed objective's mean Hessian over the draws",
        "curvature": "along the smallest eigenvalue's direction, under other draws",
        "saddle": "1 if the smoothed gradient is small and the curvature clearly negative, else 0",
    }
    run_columns: ClassVar = {
        "saddle_events": "visits to saddle points",
        "saddle_escape_steps": "median over the visits of the steps until the objective has fallen",
    }
    of_hidden_weights = False

    def measure(self, ensemble: "Measured", start: "State") -> "Measure":
        from ovpnet.training.diagnostics.saddles import OfMembers

        return OfMembers(ensemble, start)

    def of_run(self, config: "Config", curve: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
        return events(curve, config.diagnostics.escape_fraction)


def events(curve: Sequence[Mapping[str, Any]], escape_fraction: float) -> dict[str, float | None]:
    """Return `saddle_events`, the visits to saddle points, and `saddle_escape_steps`.

    Successive points of the learning curve are one visit. The steps are the median over visits of those until the
    objective has fallen by `escape_fraction`, known to the distance of the learning curve's points. A visit that no
    fall follows has no steps; if none has, or curvature was not measured, they are null.
    """
    known = [row for row in curve if row.get("saddle") is not None]
    if not known:
        return {"saddle_events": None, "saddle_escape_steps": None}
    entered = [i for i, row in enumerate(known) if row["saddle"] == 1 and (i == 0 or known[i - 1]["saddle"] != 1)]
    escapes = []
    for i in entered:
        goal = (1 - escape_fraction) * known[i]["objective"]
        left = next((row["step"] for row in known[i + 1:] if row["objective"] <= goal), None)
        if left is not None:
            escapes.append(left - known[i]["step"])
    return {"saddle_events": len(entered), "saddle_escape_steps": float(median(escapes)) if escapes else None}
