"""The report in a real browser: Chromium, headless, with no network."""

import os
import re
import shutil
from pathlib import Path

import pytest

from analysis.exhibits.evidence import Evidence
from analysis.load import load
from analysis.render.page import write

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        lack = "no chromium on the PATH. On Debian: sudo apt-get install chromium"
        if os.environ.get("OVPNET_REQUIRE_BROWSER") == "1":
            pytest.fail(lack)
        pytest.skip(lack)
    with sync_api.sync_playwright() as playwright:
        # Its sandbox needs privileges that containers lack; the only page it opens is ours.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(rich_store, tmp_path_factory) -> Path:
    return write(Evidence(load(rich_store)), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def visit(browser, written):
    """visit(width=...) -> the open page; whatever it asks for or complains of is in page.faults."""
    contexts = []

    def visit(path: Path = written, width: int = 1200, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on("console", lambda message: page.faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: page.faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: page.faults.append("dialog"))
        page.on("request", lambda request: None if request.url.startswith(path.as_uri())
                or request.url.startswith("data:") else page.faults.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def desktop(visit):
    return visit()


@pytest.fixture
def page(desktop):
    """The page as it is when it is opened: no filter, at its top."""
    desktop.get_by_role("button", name="Show all").click()
    desktop.wait_for_timeout(50)
    yield desktop
    assert desktop.faults == []


def chart(page, title: str):
    figure = page.locator("figure.chart").filter(has=page.locator(f"strong:text-is('{title}')")).first
    figure.scroll_into_view_if_needed()
    figure.locator(".main-svg").first.wait_for()
    return figure


def test_every_chart_is_drawn_and_nothing_is_asked_of_a_network(page):
    for figure in page.locator("figure.chart").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".main-svg").first.wait_for()
    titles = set(page.locator("figcaption strong").all_text_contents())
    assert {"The exponent α of m", "Sample complexity against the width", "Test risk against samples",
            "Risk along training", "Figure 1 (a): test error", "increment of W",
            "Validation risk over the grid", "Training time against the width"} <= titles
    drawn = page.evaluate("[...document.querySelectorAll('.plot')].map(each => each.data.length)")
    assert len(drawn) == page.locator("figure.chart").count()
    assert min(drawn) >= 1


def test_text_of_the_store_is_shown_and_not_run(page):
    assert page.evaluate("window.hostile") is None
    shown = page.locator("body").inner_text()
    assert "<script>window.hostile = true</script>" in shown  # the study and the concept, as they are called
    assert page.locator("img").count() == 0
    # In a chart too, where plotly reads a little HTML.
    assert "<script>" in chart(page, "The exponent α of m").locator(".annotation-text").all_text_contents()[0]


def test_hovering_shows_the_values(page):
    figure = chart(page, "Test risk against samples")
    x, y, samples, risk = page.evaluate("""figure => {
        const plot = figure.querySelector('.plot'), line = plot.data.find(trace => trace.name === 'm = 256');
        const axes = plot._fullLayout, box = plot.getBoundingClientRect();
        return [box.x + axes.xaxis._offset + axes.xaxis.l2p(Math.log10(line.x[2])),
                box.y + axes.yaxis._offset + axes.yaxis.l2p(Math.log10(line.y[2])), line.x[2], line.y[2]];
    }""", figure.element_handle())
    page.mouse.move(x, y)
    label = figure.locator(".hoverlayer .hovertext")
    label.wait_for()
    told = label.text_content()
    assert f"m = 256, N = {samples}" in told
    assert float(re.search(r"mean ([\d.]+) of 3 seeds", told).group(1)) == pytest.approx(risk, rel=1e-3)


def test_dragging_zooms_in_and_a_double_click_out(page):
    figure = chart(page, "Test risk against samples")
    read = "figure => figure.querySelector('.plot')._fullLayout.xaxis.range"
    before = page.evaluate(read, figure.element_handle())
    box = figure.locator(".nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 160, steps=4)
    page.mouse.up()
    page.wait_for_timeout(400)
    low, high = page.evaluate(read, figure.element_handle())
    assert before[0] < low < high < before[1]
    page.mouse.dblclick(box["x"] + 0.5 * box["width"], box["y"] + 100)
    page.wait_for_timeout(600)
    assert page.evaluate(read, figure.element_handle()) == pytest.approx(before, abs=0.05)


def test_a_filter_by_learner_hides_the_other_problems(page):
    cards, rows = page.locator(".card:visible"), page.locator("tbody tr:visible")
    assert cards.count() == 3
    everything = rows.count()
    page.locator("#filters [name=learner]").select_option("three_layer (hidden)")
    assert cards.count() == 1
    assert "three_layer" in cards.first.inner_text()
    assert 0 < rows.count() < everything
    assert page.locator("figure.chart:visible .problem").count() == 6
    assert all("three_layer" in each for each in page.locator("figure.chart:visible .problem").all_text_contents())
    assert "1 of 3 problems" in page.locator("#filters output").inner_text()


def test_filters_by_width_text_and_samples(page):
    figure = chart(page, "Test risk against samples")
    page.locator("#filters [name=width]").select_option("256")
    shown = page.evaluate("figure => figure.querySelector('.plot').data.filter(t => t.visible).map(t => t.name)",
                          figure.element_handle())
    assert [name for name in shown if name.startswith("m =")] == ["m = 256"]
    assert page.locator("tbody tr[data-width='64']:visible").count() == 0
    page.locator("#filters [name=samples]").select_option("900")
    curves = chart(page, "Risk along training")
    shown = page.evaluate("figure => figure.querySelector('.plot').data.filter(t => t.visible).map(t => t.meta)",
                          curves.element_handle())
    assert {(meta["width"], meta["samples"]) for meta in shown} == {(256, 900)}
    page.get_by_role("button", name="Show all").click()
    page.locator("#filters [name=text]").fill("figure1 three_layer")
    assert page.locator(".card:visible").count() == 0
    page.locator("#filters [name=text]").fill("figure1 two_layer")
    assert page.locator(".card:visible").count() == 1


def test_what_is_chosen_outlives_a_reload(visit, written):
    page = visit()
    page.locator("#filters [name=learner]").select_option("three_layer (hidden)")
    page.reload()
    assert page.locator(".card:visible").count() == 1
    assert page.faults == []


def test_tables_are_sorted_by_keyboard(page):
    table = page.locator("details.table").filter(has_text="Settings chosen").locator("table")
    head = table.get_by_role("button", name="test risk")
    for direction in ("ascending", "descending"):
        head.focus()
        page.keyboard.press("Enter")
        assert head.locator("..").get_attribute("aria-sort") == direction
        column = page.evaluate("head => [...head.parentNode.children].indexOf(head)",
                               head.locator("..").element_handle())
        values = [float(each) for each in page.evaluate(
            "([table, column]) => [...table.tBodies[0].rows].map(row => row.cells[column].dataset.sort)",
            [table.element_handle(), column])]
        assert values == sorted(values, reverse=direction == "descending")


def test_a_chart_is_told_in_words_and_numbers(page):
    figure = chart(page, "Sample complexity against the width")
    label = figure.locator(".plot").get_attribute("aria-label")
    assert "against the width m" in label
    assert "scale with m" in label or "scales with m" in label or "inconclusive" in label
    figure.locator("summary").press("Enter")
    table = figure.locator(".numbers table")
    table.wait_for()
    assert "seed 0, m = 64" in table.inner_text()
    figure.locator("summary").press("Enter")


def test_no_button_sends_a_chart_anywhere(page):
    titles = {each.get_attribute("data-title") or each.get_attribute("aria-label") or ""
              for each in chart(page, "Test risk against samples").locator(".modebar-btn").all()}
    assert len(titles) == 6
    assert not any(re.search("cloud|studio|share|edit", title, re.IGNORECASE) for title in titles)


@pytest.mark.parametrize("width", [360, 800])
def test_a_narrow_screen_has_no_sideways_scrolling(visit, width):
    page = visit(width=width, has_touch=width == 360, is_mobile=width == 360)
    for figure in page.locator("figure.chart").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".main-svg").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ends = page.evaluate("[...document.querySelectorAll('.main-svg')].map(each => each.getBoundingClientRect().right)")
    assert max(ends) <= width
    assert page.faults == []


def test_it_prints(visit, tmp_path):
    page = visit()
    content = page.pdf(format="A4")
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 4
    charts = page.evaluate("[...document.querySelectorAll('.chart')].map(chart => chart.drawn === true)")
    assert all(charts)  # those never scrolled to are on paper too
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widths = page.evaluate("[...document.querySelectorAll('.plot .main-svg')].map(each => each.clientWidth)")
    assert max(widths) <= 680
    assert page.locator("#filters").is_hidden()
    assert page.faults == []


def test_without_javascript_there_are_verdicts_and_tables(visit):
    page = visit(java_script_enabled=False)
    shown = page.locator("body").inner_text()
    assert "need JavaScript" in shown
    assert "scales with m" in shown
    assert page.locator("tbody tr").count() > 20


def test_a_dark_screen_has_light_words(visit):
    page = visit(color_scheme="dark")
    for of, darkest, lightest in (("color", 600, 765), ("backgroundColor", 0, 150)):
        colour = page.evaluate("of => getComputedStyle(document.body)[of]", of)
        assert darkest <= sum(map(int, re.findall(r"\d+", colour)[:3])) <= lightest


def test_a_watched_page_shows_what_is_new_by_itself(visit, rich_store, tmp_path):
    stored = load(rich_store, ["concept=figure1"])
    page = visit(write(Evidence(stored, delta=0.1), tmp_path, reload_seconds=1.5))
    page.locator("header", has_text="(−0.1, 0.1)").wait_for()
    write(Evidence(stored, delta=0.3), tmp_path, reload_seconds=1.5)
    page.locator("header", has_text="(−0.3, 0.3)").wait_for()
    write(Evidence(stored, delta=0.3), tmp_path)
    page.locator(".live").wait_for(state="detached")
    assert page.faults == []
