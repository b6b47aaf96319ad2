"""The results of `python -m benchmarks.engine` as Markdown tables and figures; tables in docs/benchmarks.md."""

import math
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

DOCS, RESULTS = Path(__file__).parents[1] / "docs", Path(__file__).parent / "results"
OURS = "fused"


def markdown(table: pd.DataFrame) -> str:
    """Microseconds a step and member of every peer, and how many times ours is faster."""
    first = table.iloc[0]
    peak = "" if first["device"] == "cuda" else f", {first['peak_gflops']:.0f} in multiply-adds on registers"
    parts = [f"{_machine(first)}: {first['gemm_gflops']:.0f} GFLOP/s in a float32 matrix product{peak}, "
             f"{first['bandwidth_gb']:.0f} GB/s of memory. torch {first['torch']}, "
             f"JAX {first['jax']}. Microseconds a step and member; in brackets, how many times our fused engine is "
             "faster. A naive loop trains one net at a time, so its time at E = 1 counts for every E."]
    for layers, rows in table.groupby("layers"):
        peers = list(dict.fromkeys(rows["peer"]))
        heads = ["m", "E", *peers, "of the GEMM rate"]
        # What a process has of the host's memory says nothing of a GPU's, and its roofline is the product's rate.
        heads += ["of the roofline", "MB, JAX / ours"] if first["device"] == "cpu" else []
        lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for (m, E), case in rows.groupby(["m", "E"]):
            times = case.set_index("peer")["us"]
            naive = rows[rows["peer"].eq("naive loop") & rows["m"].eq(m)]["us"]
            if len(naive):
                times["naive loop"] = naive.iloc[0]
            cells = [_cell(times, peer) for peer in peers]
            ours = case[case["peer"].eq(OURS)]
            shares = [f"{ours[name].iloc[0]:.0%}" if len(ours) else "" for name in ("of_gemm_peak", "of_roofline")]
            memory = case.set_index("peer")["peak_mb"]
            megabytes = " / ".join(f"{memory[peer]:,.0f}" for peer in ("JAX", OURS) if peer in memory)
            cells = [f"{m:,}", f"{E:,}", *cells, *shares, megabytes][:len(heads)]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append(f"**{'Two' if layers == 2 else 'Three'} layers**\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _machine(row: pd.Series) -> str:
    return f"{row['cpu']}, {row['threads']} threads, cpu" if row["device"] == "cpu" else str(row["gpu"])


def _cell(times: pd.Series, peer: str) -> str:
    if peer not in times:
        return ""
    digits = max(0, 2 - math.floor(math.log10(times[peer])))
    ratio = "" if peer == OURS or OURS not in times else f" ({times[peer] / times[OURS]:.3g}x)"
    return f"{times[peer]:,.{digits}f}{ratio}"


def keep(name: str, table: pd.DataFrame) -> None:
    """Keep the rows that a benchmark measured, as benchmarks/results/NAME.csv."""
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.5g")


def put(module: str, text: str, page: str = "benchmarks.md") -> None:
    """Put what a benchmark measured between its markers in a page of docs/."""
    begin, end = f"<!-- measured: python -m {module} --write-docs -->", "<!-- end of measured -->"
    file = DOCS / page
    before, found, rest = file.read_text().partition(begin)
    assert found, f"{file} has no line {begin}"
    after = rest.partition(end)[2]
    file.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def write_docs(table: pd.DataFrame) -> None:
    """Put the tables between the markers of docs/benchmarks.md, and draw the figures beside it."""
    device = table["device"].iloc[0]
    put("benchmarks.engine" if device == "cpu" else f"benchmarks.engine --device {device}", markdown(table))
    for layers, rows in table.groupby("layers"):
        figure = _figure(rows, layers)
        figure.savefig(DOCS / "images" / f"benchmark_{layers}_layers{'' if device == 'cpu' else '_' + device}.png",
                       dpi=130)


def _figure(rows: pd.DataFrame, layers: int) -> Figure:
    """Time of a step of the whole ensemble against E, and of a member's against m."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    against_E, against_m = figure.subplots(1, 2)
    m = 1000
    largest = rows.loc[rows["peer"].eq(OURS), "E"].max() if layers == 3 else 128
    for peer, times in rows.groupby("peer", sort=False):
        look = {"marker": "o", "label": peer, "linewidth": 2.4 if peer == OURS else 1.2}
        at_m = times[times["m"].eq(m)].sort_values("E")
        against_E.plot(at_m["E"], at_m["us"] * at_m["E"], **look)
        at_E = times[times["E"].eq(1 if peer == "naive loop" else largest)].sort_values("m")
        against_m.plot(at_E["m"], at_E["us"], **look)
    for axes, label, title in ((against_E, "members E", f"A step of all members, m = {m}"),
                               (against_m, "width m", f"A step and member, E = {largest} (naive loop: 1)")):
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="microseconds", title=title)
        axes.grid(alpha=0.3)
        _linear(axes, 2 if axes is against_m and layers == 3 else 1)
    against_E.legend(fontsize=8)
    figure.suptitle(f"{'Two' if layers == 2 else 'Three'} layers: {_machine(rows.iloc[0])}", fontsize=11,
                    fontweight="bold")
    return figure


def _linear(axes: object, power: int) -> None:
    """A thin line whose time grows as x to the power, for the eye."""
    ours = next(line for line in axes.get_lines() if line.get_label() == OURS)
    x, y = ours.get_data()
    axes.plot(x, y[-1] * (x / x[-1]) ** power, color="grey", linestyle=":", linewidth=1,
              label="linear" if power == 1 else "quadratic", zorder=0)
