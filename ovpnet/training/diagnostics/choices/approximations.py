"""The distance from the approximations at initialization: the choice.

`ovpnet.training.diagnostics.approximations` and `signs` compute it.
"""

from typing import TYPE_CHECKING, ClassVar

from ovpnet.spec.diagnostic import Diagnostic, diagnostic

if TYPE_CHECKING:
    from ovpnet.engine.steps import State
    from ovpnet.training.diagnostics.measured import Measure, Measured


@diagnostic("approximations")
class Approximations(Diagnostic):
    """On held-out x: how far the net is from its approximations at initialization (Sections 6.2, 6.3)."""

    columns: ClassVar = {
        "sign_changes_1": "share of the first hidden layer's ReLU signs that differ from those at initialization",
        "sign_changes_2": "the same of the second hidden layer",
        "gap_linear": "root mean square of f minus its linearization (NTK)",
        "gap_quadratic": "root mean square of f minus its quadratic approximation (pseudo network)",
        "gap_linear_relative": "gap_linear over the root mean square of f - f_0",
        "gap_quadratic_relative": "gap_quadratic over the root mean square of f - f_0",
        "ntk_drift": "||K - K0||_F / ||K0||_F of the NTK's Gram matrices now and at initialization",
    }
    run_columns: ClassVar = {}
    of_hidden_weights = True

    def measure(self, ensemble: "Measured", start: "State") -> "Measure":
        from ovpnet.training.diagnostics.approximations import OnHeldOut

        return OnHeldOut(ensemble)
