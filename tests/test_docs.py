"""The site is built strictly, says what the code says, needs nothing from elsewhere, and its blocks run."""

from __future__ import annotations

import html
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from glioma_hf.metrics.overlap_ap import EXTRAS
from tests.browser import NONE_HERE, find_browser, starts
from tests.conftest import FACTS, ROOT
from tests.pages import LEFT_OUT, blocks, steps

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WITH_STEPS = [page for page in PAGES if list(steps(page.read_text("utf-8")))]
LEFT_OUT_AT_MOST = 25  # of all pages together; five are of a server, which tests/leaderboard runs


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site."""
    for library in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(library, reason="the site needs pip install 'glioma_hf[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def text_of(page: Path) -> str:
    """What a reader sees of a page."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


@pytest.mark.slow
def test_every_page_is_there(site):
    for page in [*PAGES, DOCS / "changelog.md", DOCS / "contributing.md", DOCS / "benchmarks" / "metric_speed.md"]:
        assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file()


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site):
    for page in set(site.rglob("*.html")) - {site / "404.html"}:  # which a server alone gives
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text("utf-8")):
            address = re.search(r'\b(?:src|href)="([^"]*)"', tag)
            if address is None or 'rel="canonical"' in tag:
                continue
            assert "://" not in address[1], f"{page.relative_to(site)}: {tag}"
            assert not address[1].startswith("/"), f"{page.relative_to(site)}: {tag} isn't there on a disk"


@pytest.mark.slow
def test_search_works_from_a_disk(site):
    browser = find_browser()
    if not starts(browser):
        pytest.skip(NONE_HERE)
    playwright = pytest.importorskip("playwright.sync_api")
    errors: list[str] = []
    with playwright.sync_playwright() as driver:
        page = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        page.set_default_timeout(180_000)  # the other core is at work too
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "reference" / "metric.html").as_uri())
        # By keys, which the search listens to; a text that is put there at once it may miss.
        page.locator("input.md-search__input").press_sequentially("bootstrap")
        page.wait_for_selector(".md-search-result__link")
    assert errors == []


@pytest.mark.slow
def test_every_command_and_option_is_told(site):
    from typer.main import get_command

    from glioma_hf.cli import app

    told = text_of(site / "reference" / "command_line.html")

    def check(command, name):
        assert name in told
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert option in told, f"{name} {option}"
            assert " ".join((parameter.help or "").split()) in " ".join(told.split()), f"{name} {parameter.name}"
        for word, child in getattr(command, "commands", {}).items():
            check(child, f"{name} {word}")

    check(get_command(app), "glioma-hf")


@pytest.mark.slow
def test_every_setting_is_told_with_its_default(site):
    from pydantic import BaseModel

    from glioma_hf.models.centres import recipe as centres
    from glioma_hf.models.centres.segment import CentreSettings
    from glioma_hf.models.flows import recipe as flows
    from glioma_hf.models.flows.segment import FlowSettings
    from glioma_hf.models.sam.generate import GenerationSettings
    from glioma_hf.models.sam.recipe import LoraSettings, SamRecipe
    from glioma_hf.models.unet import recipe as unet
    from glioma_hf.models.unet.segment import UNetSettings
    from glioma_hf.synthetic.scenes import SceneConfig

    page = (site / "reference" / "configuration.html").read_text("utf-8")
    of_centres = (centres.CentresRecipe, centres.NetworkConfig, centres.AdapterSettings, centres.Augmentation)
    of_flows = (flows.FlowsRecipe, flows.LightConfig, flows.MediarConfig, flows.MediarAugmentation, FlowSettings)
    of_unet = (unet.UNetRecipe, unet.NetworkConfig, unet.Augmentation, UNetSettings)
    of_sam = (SamRecipe, LoraSettings, GenerationSettings)
    for model in (*of_sam, SceneConfig, CentreSettings, *of_centres, *of_flows, *of_unet):
        for name, field in model.model_fields.items():
            row = re.search(rf"<tr>\s*<td><code>{name}</code></td>(.*?)</tr>", page, re.DOTALL)
            assert row is not None, name
            assert isinstance(field.default, BaseModel) or f"<code>{html.escape(str(field.default))}</code>" in page
    assert "<!-- " not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


@pytest.mark.slow
def test_every_public_name_is_told(site):
    import glioma_hf

    page = (site / "reference" / "api.html").read_text("utf-8")
    for name in glioma_hf.__all__:
        assert re.search(rf'<h3 id="glioma_hf[\w.]*\.{name}"', page), name
    for page in (site / "reference").glob("*.html"):  # "a, b: what both are" is an entry for each
        assert not re.search(r"<code>(<span[^>]*>)?\w+,<", page.read_text("utf-8")), page.name


def test_every_extra_of_the_metric_is_told():
    page = (DOCS / "reference" / "metric.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(EXTRAS)


def test_figures_are_the_same_everywhere():
    page = (DOCS / "benchmarks" / "t98g.md").read_text("utf-8")
    measured = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    first, second = (part.split("\n\n## ")[0] for part in page.split("\n| model |")[1:])
    assert f"| model |{first}".split("\n\n")[0] in readme
    rows = re.findall(r"^\| (.+?) \| (\d\..+) \|$", second, re.MULTILINE)
    assert len(rows) == 4
    sam = next(line for line in readme.splitlines() if line.startswith("| the embedded SAM"))
    for name, values in rows:
        validation, ap50, ap75, *_ = values.split(" | ")
        assert float(validation) > 0
        if "four" not in name:
            assert ap50 in sam, name
            assert ap75 in sam, name
        if "mean" not in name:
            assert f"| {values} |" in measured, name
    for figure in ("0.506", "0.522", "0.570", "0.573", "0.703", "0.226"):  # centres: as the runs have them
        assert figure in readme, figure
        assert figure in measured, figure


def test_the_table_of_t98g_is_that_of_its_rows():
    script = runpy.run_path(str(DOCS / "t98g_table.py"))
    rows = script["rows_of"](script["ROWS"])
    assert rows
    assert script["page_with"](rows) == (DOCS / "benchmarks" / "t98g_table.md").read_text("utf-8")
    assert {row.split for row in rows} == {"spec/test"}
    assert {row.thresholds_from for row in rows} == {"t98g, spec/validation"}


def test_the_papers_figures_are_the_papers():
    if not (FACTS / "paper_tables.json").is_file():
        pytest.skip("the paper's tables are not beside the checkout (../shared/facts)")
    import json

    page = (DOCS / "benchmarks" / "paper.md").read_text("utf-8")
    tables = json.loads((FACTS / "paper_tables.json").read_text())
    written = re.findall(r"^\| (\S+) \| (yes|no) \| (.+) \|$", page, re.MULTILINE)
    printed = [
        (row["model"], "yes" if row["fine_tuned"] else "no", [row[name] for name in list(row)[-6:]])
        for name in ("table2_overlapping", "table4_non_overlapping")
        for row in tables[name]
    ]
    assert [(model, tuned, [float(v) for v in values.split(" | ")]) for model, tuned, values in written] == printed


def test_what_is_left_out_is_little():
    left_out = [page.read_text("utf-8").count(LEFT_OUT) for page in PAGES if page.stem != "index"]
    assert sum(left_out) <= LEFT_OUT_AT_MOST


def test_only_the_public_face_is_used():
    """Where people learn; those who add a source or a family go deeper."""
    for page in PAGES:
        if page.stem not in ("source", "family"):
            for kind, code in blocks(page.read_text("utf-8")):
                assert kind != "python" or "glioma_hf." not in code, page.name


@pytest.mark.long
@pytest.mark.slow
def test_files_are_the_files(readme_folder):
    page = (DOCS / "reference" / "files.md").read_text("utf-8")
    saved, predicted, started = (
        page.split(f"## {title}\n")[1].split("\n## ")[0] for title in ("A saved model", "`predict`", "`quickstart`")
    )

    def names(section: str) -> set[str]:
        rows = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
        return {name.strip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}

    def there(folder: str) -> set[str]:
        return {p.name for p in (readme_folder / folder).iterdir() if not p.name.startswith(".")}

    assert names(saved) == there("quickstart/sam")
    assert names(started) == there("quickstart")
    assert {name.replace("NAME", "cells") for name in names(predicted)} == there("outlines")


@pytest.mark.slow
@pytest.mark.long
def test_every_block_runs(readme_folder, tmp_path):
    """Every page with a block that runs, in one process; what it says names the page and the step it stopped at."""
    start = tmp_path / "start"
    start.mkdir()
    for name in ("quickstart", "cells.tif", "metric"):
        (start / name).symlink_to(readme_folder / name)
    work = tmp_path / "pages"
    work.mkdir()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, ROOT / "tests" / "pages.py", start, *WITH_STEPS]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert sorted(p.name for p in work.iterdir()) == sorted(page.stem for page in WITH_STEPS)
