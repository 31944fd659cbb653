"""mlflow's pages as our links open them: tables, arms and their children, charts, checkpoint, ranked list."""

from __future__ import annotations

import re

from tests.browser.conftest import ARMS, EXPERIMENT, SEEDS, STUDY


def wait(page, text: str):
    """The first visible element of this text, once it is there."""
    found = page.get_by_text(text, exact=True).first
    found.wait_for()
    return found


def column_of(page, name: str):
    """The head of a column of the table of runs, once it is there."""
    found = page.get_by_role("columnheader", name=name, exact=True).first
    found.wait_for()
    return found


def test_the_table_of_an_experiment_has_columns_of_metrics(site, page):
    page.goto(site.url(f"runs of {EXPERIMENT}", EXPERIMENT))
    for seed in range(3):
        wait(page, f"{EXPERIMENT} seed {seed}")
    for column in ("test/mAP", "test/R1"):
        column_of(page, column)
    page.wait_for_function(
        """() => {
            const cells = [...document.querySelectorAll('[role=gridcell][col-id*="test/mAP"]')];
            return ["38", "26", "22"].every(value => cells.some(cell => cell.innerText === value));
        }"""
    )


def test_chosen_runs_are_a_table_of_their_own(site, page):
    page.goto(site.url("chosen runs", *SEEDS[:2]))
    column_of(page, "test/mAP")
    for seed in range(2):
        wait(page, f"{EXPERIMENT} seed {seed}")
    names = page.get_by_role("link", name=re.compile(f"^{EXPERIMENT} seed")).all_inner_texts()
    assert sorted(names) == [f"{EXPERIMENT} seed 0", f"{EXPERIMENT} seed 1"]


def test_the_link_of_a_study_shows_its_arms_with_their_children(site, page):
    what, _, url = site.printed[0].rpartition("  ")
    assert what.strip() == f"study {STUDY}"
    page.goto(url)
    column_of(page, "test/mAP")
    for arm in ARMS:
        row = page.locator('[col-id*="Run Name"]', has=page.get_by_text(f"{STUDY}: {arm}", exact=True))
        row.get_by_role("button").first.click()
    children = [f"{EXPERIMENT} seed {seed}" for seed in (1, 0, 0, 0)]
    wanted = [f"{STUDY}: no_mlm", *children, f"{STUDY}: full", *children]
    page.wait_for_function(
        """wanted => {
            const runs = '[role=row]:has(a[href*="/runs/"])';
            const rows = [...document.querySelectorAll(runs)];
            rows.sort((one, other) => one.getAttribute('row-index') - other.getAttribute('row-index'));
            return JSON.stringify(rows.map(row => row.querySelector('a').innerText)) === JSON.stringify(wanted);
        }""",
        arg=wanted,
    )


def test_the_charts_of_three_runs_have_three_curves(site, page):
    page.goto(site.url("charts", *SEEDS))
    page.get_by_text("loss/sdm", exact=True).first.wait_for()
    curves = "plot => new Set((plot.data || []).filter(curve => curve.y?.length === 40).map(curve => curve.name)).size"
    page.wait_for_function(f"() => [...document.querySelectorAll('.js-plotly-plot')].map({curves}).includes(3)")


def test_runs_are_compared_in_parallel_coordinates(site, page):
    page.goto(site.url("comparison", *SEEDS))
    wait(page, "Comparing 3 Runs from 1 Experiment")
    plot = page.locator(".js-plotly-plot .parcoords")
    plot.get_by_text("train.optimizer.lr", exact=True).wait_for()
    assert {"seed", "train.optimizer.lr"} <= set(plot.locator(".axis-title").all_text_contents())
    for seed in range(3):
        wait(page, f"{EXPERIMENT} seed {seed}")


def test_a_run_leads_to_its_checkpoint(site, page):
    page.goto(site.url(f"run {SEEDS[0]}", SEEDS[0]))
    wait(page, "val/mAP")
    leads = page.get_by_role("link", name="best", exact=True).first.get_attribute("href")
    page.goto(f"{site.base}/{leads}")
    page.get_by_role("tab", name="Artifacts").or_(page.get_by_role("link", name="Artifacts")).first.click()
    wait(page, "best.safetensors")


def test_a_run_shows_its_ranked_list(site, page):
    page.goto(site.url("files", SEEDS[0]))
    wait(page, "images").click()
    page.get_by_text(re.compile(r"^ranking_0.*\.png$")).first.click()
    page.wait_for_function("() => [...document.images].some(image => image.naturalWidth > 300)")


def test_the_image_grid_has_the_ranked_list_at_its_step(site, page):
    page.goto(site.url(f"run {SEEDS[0]}", SEEDS[0]).replace("?", "/model-metrics?"))
    page.get_by_placeholder("Search metric charts").fill("ranking")
    wait(page, "ranking_0")
    page.wait_for_function("() => [...document.images].some(image => image.naturalWidth > 200)")


def test_a_request_that_leaves_the_machine_is_noticed_and_stopped(page, left):
    page.set_content("<img src='http://192.0.2.1/one.png'>", wait_until="load")
    assert left == ["http://192.0.2.1/one.png"]
    left.clear()
