"""The gallery: small studies trained here, and what the report shows of them. `python docs/gallery.py` remakes it all.

Trains into a temporary store (a minute or two on one core), writes docs/gallery.md and docs/images/gallery_*.png.
The pictures are screenshots of the report's own charts, in Chromium (see CONTRIBUTING.md).
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
PAGE, IMAGES = ROOT / "docs" / "gallery.md", ROOT / "docs" / "images"
SCALE = 1.5  # pixels of a picture for one of the page


@dataclass(frozen=True)
class Study:
    """A study, the question it answers, and the charts (title, words) that are shown of it."""

    name: str
    question: str
    overrides: str
    charts: tuple[tuple[str, str], ...]


STUDIES = (
    Study("quickstart", "Does the sample complexity of a two-layer concept depend on the width?",
          "experiment=quickstart diagnostics=norms",
          (("The exponent α of m", "The answer: the whole interval of alpha lies in the band that counts as none."),
           ("Sample complexity against the width", "A bar is what the grid of samples leaves for N_eps of one seed."),
           ("Test risk against samples", "The best-tuned learner of each width, with OPT + epsilon."),
           ("Risk along training", "Test risk solid, training risk dotted: the largest N."),
           ("Validation risk over the grid", "The tuning: the ring is the choice, the darker the better."),
           ("m ||W||_2,4^4 / ||W||_F^4, in [1, m]", "How evenly the increment is spread over the neurons."))),
    Study("figure 1", "The paper's Figure 1 (a), with few epochs and seeds",
          "experiment=figure1a scale=small width=50,100,200 samples=1000 epochs=40 seed=0",
          (("Figure 1 (a): test error", "Ours solid, the paper's dashed: after 40 of its 800 epochs three trained "
            "layers are ahead already."),)),
)


def main() -> None:
    """Train, report, photograph, write the page."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [_shown(study, Path(folder)) for study in STUDIES]
    PAGE.write_text("# Gallery\n\n`ovpnet analysis report` shows these charts, here of small studies of our own. "
                    "`python docs/gallery.py` trains them and\nmakes this page.\n\n" + "\n".join(parts),
                    encoding="utf-8")
    print(PAGE)


def _shown(study: Study, folder: Path) -> str:
    name = study.name.replace(" ", "")
    store, out = folder / name, folder / f"{name}-report"
    command = f"ovpnet train -m {study.overrides}"
    for words in (f"ovpnet.train -m {study.overrides} store={store}".split(),
                  ["analysis", "report", "--store", str(store), "--out", str(out)]):
        subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True)
    lines = [f"## {study.name.capitalize()}", "", study.question, "", f"    {command}", ""]
    for index, (title, words) in enumerate(study.charts, start=1):
        image = IMAGES / f"gallery_{name}_{index}.png"
        _photograph(out / "index.html", title, image)
        lines += [f"{words}", "", f"![{title}](images/{image.name})", ""]
    return "\n".join(lines)


def _photograph(page_path: Path, title: str, image: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 820, "height": 900}, device_scale_factor=SCALE)
        page.goto(page_path.as_uri())
        page.add_style_tag(content=".numbers, .modebar-container, .problem { display: none !important }")
        figure = page.locator("figure.chart").filter(has=page.locator("strong").get_by_text(title, exact=True)).first
        figure.scroll_into_view_if_needed()
        figure.locator(".main-svg").first.wait_for()
        page.wait_for_timeout(300)
        figure.screenshot(path=image)
        browser.close()


if __name__ == "__main__":
    main()
