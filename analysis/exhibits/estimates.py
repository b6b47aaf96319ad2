"""The estimates behind the verdicts, and other estimates beside them."""

from collections.abc import Iterator

from analysis.exhibits.base import Part, Table, columns
from analysis.exhibits.registry import PAGE, Exhibit

# Columns of the verdicts, as people know them.
ESTIMATES = {"problem": "problem", "alpha": "α", "alpha_low": "α from", "alpha_high": "α to",
             "alpha_se": "s.e.", "p_equivalence": "p: no scaling", "p_scales": "p: scales", "p_shrinks": "p: shrinks",
             "p_holm": "p (Holm)", "bootstrap_low": "bootstrap from", "bootstrap_high": "bootstrap to",
             "logistic_alpha": "logistic α", "logistic_low": "logistic from", "logistic_high": "logistic to",
             "bent_p": "p: a straight line", "non_monotone": "not monotone"}


class Estimates(Exhibit):
    """Tables of exponents, of other laws, of laws over several epsilons, and of what would settle a verdict."""

    name = "estimates"
    title = "Estimates"
    about = ("Each verdict is two one-sided tests at 2.5%, whose p-values are here; p (Holm) is corrected for all "
             "problems of this page. The other estimates decide nothing. They are the bootstrap over seeds, a logistic "
             "regression of whether runs pass, and other laws than a power of m. Their weights sum to 1; the log score "
             "is that of widths left out of the fit.")
    place = 30
    media = (PAGE,)

    def of_all(self) -> Iterator[Part]:
        analysis = self.evidence.analysis
        epsilons = analysis.epsilons.drop(columns="epsilons")
        plans = analysis.plans.assign(**{name: analysis.plans[name].map(len)
                                         for name in ("seeds", "widths", "samples")})
        for table in (Table(analysis.verdicts.dropna(subset="alpha"), ESTIMATES, "Exponents"),
                      Table(analysis.models, columns(analysis.models), "Laws compared"),
                      Table(epsilons, columns(epsilons), "Over several ε"),
                      Table(plans, columns(plans, samples="numbers of N"), "What would settle an open verdict")):
            if len(table.rows):
                yield table
