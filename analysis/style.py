"""The look that all pictures share: colours, which every medium draws alike."""

import numpy as np

# Okabe and Ito's colours: distinct under the common kinds of colour blindness.
BLUE, ORANGE, GREEN, SKY, AMBER, PINK = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#E69F00", "#CC79A7"
GREY, BLACK, GRID = "#8C8C8C", "#222222", "#E6E6E6"
QUALITATIVE = (BLUE, ORANGE, GREEN, AMBER, SKY, PINK, BLACK)
# For ordered values (widths, risks): the name of a scale whose lightness rises steadily, so that it survives grey
# printing; and the scale without its light end, for lines.
SEQUENTIAL = "viridis"
_DARK_TO_LIGHT = ("#440154", "#482777", "#3f4a8a", "#31678e", "#26838f", "#1f9d8a", "#35b779", "#6cce5a", "#a0da39")


def shades(count: int) -> list[str]:
    """Return colours of `count` ordered values, from dark to light."""
    anchors = np.array([[int(colour[i:i + 2], 16) for i in (1, 3, 5)] for colour in _DARK_TO_LIGHT], dtype=float)
    places = np.linspace(0, len(anchors) - 1, count)
    mixed = [np.interp(places, range(len(anchors)), channel).round().astype(int) for channel in anchors.T]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in zip(*mixed, strict=True)]
