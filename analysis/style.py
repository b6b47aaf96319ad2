"""The look that all figures share, on paper and on the page: colours, markers, and matplotlib's settings."""

from typing import Any

# Okabe and Ito's colours: distinct under the common kinds of colour blindness.
BLUE, ORANGE, GREEN, SKY, AMBER, PINK = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#E69F00", "#CC79A7"
GREY, BLACK, GRID = "#8C8C8C", "#222222", "#E6E6E6"
QUALITATIVE = (BLUE, ORANGE, GREEN, AMBER, SKY, PINK, BLACK)
# Ordered values (widths, risks): lightness rises steadily, so that it survives grey printing. Its light end is left out
# for lines.
SEQUENTIAL, SEQUENTIAL_END = "viridis", 0.85

# matplotlib. Fonts are embedded: as TrueType in PDF (editable, and what journals ask for), as outlines in SVG.
MATPLOTLIB: Any = {
    "font.family": "sans-serif", "font.size": 10, "axes.titlesize": 10.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": BLACK,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": 9, "svg.fonttype": "path", "svg.hashsalt": "ovpnet",
    "pdf.fonttype": 42,
}
