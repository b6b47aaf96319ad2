"""Exponents of risk and sample complexity in N, 1/epsilon and a concept's size, beside the theorems' bounds."""

from collections.abc import Iterator

import pandas as pd

from analysis import rates
from analysis.exhibits.base import Note, Part, Table
from analysis.exhibits.registry import PAGE, TEXT, Exhibit
from analysis.verdict import interval_text


class Rates(Exhibit):
    """A table of exponents, and the problems that each is of."""

    name = "rates"
    title = "Rates"
    about = ("These exponents say how excess risk falls with N, and how the sample complexity grows with 1/ε and with "
             "the concept's size and complexity. They have 95% intervals, and stand beside the exponents of the "
             "theorems' bounds, which are bounds from above.")
    place = 60
    media = (TEXT, PAGE)

    def of_all(self) -> Iterator[Part]:
        table = rates.rates(self.evidence.stored.runs, self.evidence.tuning)
        if table.empty:
            return
        starred = table["stated"].map({True: "", False: " *"})
        rows = table.assign(
            number=range(1, len(table) + 1), interval=[interval_text(*ends) for ends in zip(table["low"], table["high"],
                                                                                            strict=True)],
            theorem_text=["" if pd.isna(number) else f"{number:g}{star}"
                          for number, star in zip(table["theorem"], starred, strict=True)])
        yield Table(rows, {"number": "#", "of": "of", "quantity": "in", "exponent": "exponent",
                           "interval": "95% interval", "theorem_text": "theorem", "predicted": "bound",
                           "finding": "finding"}, "Exponents", data=table,
                    forms={"exponent": "z.2f", "predicted": "g"})
        for number, row in enumerate(table.itertuples(), start=1):
            yield Note(f"{row.quantity} = {row.values}", [("", each) for each in row.problems.split("\n")],
                       number=number)
        if not table["stated"].all():
            yield Note("* beyond what the theorem states: of another algorithm or concept")
