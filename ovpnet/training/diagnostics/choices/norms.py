"""Norms along training: the choice. `ovpnet.training.diagnostics.norms` computes them."""

from typing import TYPE_CHECKING, ClassVar

from ovpnet.spec.diagnostic import Diagnostic, diagnostic

if TYPE_CHECKING:
    from ovpnet.engine.steps import State
    from ovpnet.training.diagnostics.measured import Measure, Measured


@diagnostic("norms")
class Norms(Diagnostic):
    """Norms of the increments W' = W - W0 and V' = V - V0, and Figure 3's norm ratio."""

    columns: ClassVar = {
        "norm_W": "||W'||_F", "spectral_W": "largest singular value of W'",
        "norm_V": "||V'||_F", "spectral_V": "largest singular value of V'",
        "norm_W_24": "||W'||_{2,4} (Section 2)",
        "norm_ratio": "||W||_{2,4}^4 m / ||W||_F^4 of the whole W, from 1 to m (Figure 3)",
    }
    run_columns: ClassVar = {}
    of_hidden_weights = True

    def measure(self, ensemble: "Measured", start: "State") -> "Measure":
        from ovpnet.training.diagnostics.net import net
        from ovpnet.training.diagnostics.net import start as at_start
        from ovpnet.training.diagnostics.norms import norms

        return lambda step, state, scale: norms(at_start(state), net(state.weights))
