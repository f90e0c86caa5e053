"""What the site takes from elsewhere when it is built: command line, settings, benchmark pages, change log.

Nothing that lies in the code is copied by hand. A line `<!-- commands -->`, `<!-- recipes: FAMILY -->` or
`<!-- settings: MODULE.NAME -->` of a page becomes what it names; `benchmarks/README.md` becomes a page for each of its
sections.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel

from glioma_hf.cli import app
from glioma_hf.models import get_family

ROOT = Path(__file__).parents[1]
BOUNDS = {
    "ge": "at least",
    "gt": "above",
    "le": "at most",
    "lt": "below",
    "multiple_of": "a multiple of",
    "min_length": "items: at least",
    "max_length": "items: at most",
}
# The sections of benchmarks/README.md by the beginning of their titles, in its order: page and its title.
MEASURED = {
    "The metric": ("metric_speed", "How fast the metric is"),
    "The data set": ("data_speed", "How fast data sets are"),
    "Adapting SAM": ("adapting_sam", "Adapting SAM"),
    "The overlap-aware model": ("overlap_aware", "The overlap-aware model"),
    "Cells of another size": ("cell_size", "Cells of another size"),
    "The leaderboard": ("leaderboard_speed", "How fast the leaderboard is"),
    "Generation and the training step": ("sam_speed", "How fast SAM is"),
    "The U-Net": ("unet_speed", "How fast the U-Net is"),
    "MediarFormer": ("flows_speed", "How fast MediarFormer is"),
    "What pretraining needs": ("pretraining", "What pretraining needs"),
    "The page's memory": ("page_memory", "What the page holds in memory"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that lie outside docs/."""
    for name, text in pages_from_elsewhere().items():
        files.append(File.generated(config, name, content=text))
    pictures = [*(ROOT / "benchmarks" / "figures").iterdir(), *(ROOT / "spaces" / "demo" / "screenshots").iterdir()]
    for picture in pictures:
        files.append(File.generated(config, f"figures/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put tables where a page asks for them."""
    markdown = markdown.replace("<!-- commands -->", "\n".join(command_line(typer.main.get_command(app), "glioma-hf")))
    markdown = re.sub(r"<!-- recipes: (\w+) -->", lambda match: "\n\n".join(recipes(match[1])), markdown)
    return re.sub(r"<!-- settings: ([\w.]+) -->", lambda match: settings_table(match[1]), markdown)


def pages_from_elsewhere() -> dict[str, str]:
    """Markdown by page name."""
    opening, *sections = re.split(r"^## ", (ROOT / "benchmarks" / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    preamble = opening.partition("\n")[2].strip()
    pages = {}
    for section in sections:
        title, _, body = section.partition("\n")
        name, heading = next(page for beginning, page in MEASURED.items() if title.startswith(beginning))
        script = re.search(r"`(\w+\.py)`", title)
        assert script is not None
        body = body.replace("](figures/", "](../figures/")
        pages[f"benchmarks/{name}.md"] = f"# {heading}\n\n{preamble} The script is `benchmarks/{script[1]}`.\n{body}"
    assert len(pages) == len(MEASURED), "benchmarks/README.md has other sections than docs/hooks.py"
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text("utf-8")
    pages["contributing.md"] = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    return pages


def command_line(command: Any, name: str, level: int = 2) -> Iterator[str]:
    """Markdown of a command and of those below it, as `--help` has them."""
    context = command.make_context(name, [], resilient_parsing=True)
    below = getattr(command, "commands", {})
    yield f"\n{'#' * min(level, 3)} {name}\n"
    yield f"{command.help or ''}\n"
    if not below:
        yield f"```text\n{name} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    records = [parameter.get_help_record(context) for parameter in command.params]
    if any(records):
        yield "| option | |\n|---|---|"
        yield from (f"| `{cell(record[0])}` | {cell(record[1])} |" for record in records if record)
    for word, child in below.items():
        yield from command_line(child, f"{name} {word}", level + 1)


def recipes(name: str) -> Iterator[str]:
    """The named recipes of a family, as their files have them."""
    family = get_family(name)
    for recipe in family.recipe_names():
        yield f"`{recipe}`:\n\n```json\n{(family.recipes / f'{recipe}.json').read_text('utf-8').strip()}\n```"


def cell(text: str) -> str:
    """Text as a cell of a table takes it."""
    return text.replace("|", "\\|").strip()


def settings_table(path: str) -> str:
    """A table of a pydantic model's fields: name, kind, default and what the source's comment says of it."""
    module, _, name = path.rpartition(".")
    model = getattr(import_module(module), name)
    words = comments(model)
    rows = []
    for field, info in model.model_fields.items():
        kind = annotation_of(model, field).replace("Scale", "float").replace("|", "\\|")
        bounds = ", ".join(bounds_of(info.metadata))
        default = "its own, see below" if isinstance(info.default, BaseModel) else f"`{info.default}`"
        rows.append(f"| `{field}` | {kind} | {default} | {bounds} | {words.get(field, '')} |")
    return "| setting | kind | default | bounds | |\n|---|---|---|---|---|\n" + "\n".join(rows)


def bounds_of(metadata: list[Any]) -> Iterator[str]:
    """In words, from the constraints that pydantic keeps of a field."""
    limits = {name: getattr(item, name) for item in metadata for name in BOUNDS if hasattr(item, name)}
    if "ge" in limits and "le" in limits:
        yield f"{limits.pop('ge'):,} to {limits.pop('le'):,}"
    yield from (f"{words} {limits[name]:,}" for name, words in BOUNDS.items() if name in limits)


def annotation_of(model: type, field: str) -> str:
    """A field's annotation as the class that declares it writes it."""
    return next(str(c.__annotations__[field]) for c in model.__mro__ if field in vars(c).get("__annotations__", {}))


def comments(model: type) -> dict[str, str]:
    """By field the comment at the end of its line or on the lines above it, also of the classes it is built on."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not kind.__module__.startswith("glioma_hf"):
            continue
        above: list[str] = []
        for line in inspect.getsource(kind).splitlines():
            if own := re.match(r"    # (.+)", line):
                above.append(own[1])
                continue
            if field := re.match(r"    (\w+): (?:.*?  # (.+))?", line):
                found[field[1]] = field[2] or " ".join(above) or found.get(field[1], "")
            above = []
    return found
