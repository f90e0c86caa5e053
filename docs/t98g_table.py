"""The page of the table `t98g`: rows of `glioma-hf benchmark t98g --out FOLDER`, kept beside the page that shows them.

    python docs/t98g_table.py FOLDER

copies the rows of FOLDER and writes the page's table anew; nothing of it is typed.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from glioma_hf.benchmark.comparison import compare
from glioma_hf.benchmark.results import ResultRow, read_row
from glioma_hf.benchmark.table import read_table
from glioma_hf.benchmark.written import to_markdown

PAGE = Path(__file__).parent / "benchmarks" / "t98g_table.md"
ROWS = PAGE.with_suffix("")
BEGIN, END = "<!-- the table -->\n", "<!-- the table's end -->\n"


def rows_of(folder: Path) -> list[ResultRow]:
    """The rows with scores that lie in a folder, in the order of the table's models."""
    names = [model.name for model in read_table("t98g").models]
    rows = [row for path in folder.glob("*.json") if (row := read_row(path)).failed is None]
    return sorted((row for row in rows if row.model in names), key=lambda row: names.index(str(row.model)))


def table_of(rows: list[ResultRow]) -> str:
    """The table as `glioma-hf benchmark` writes it, without its title."""
    text = to_markdown("", "", compare(rows)).partition("\n\n")[2]
    missing = missing_from(rows)
    return f"{text}\nNot made so far: {'; '.join(missing)}.\n" if missing else text


def missing_from(rows: list[ResultRow]) -> list[str]:
    """The table's models that have no row, in its order."""
    made = {row.model for row in rows}
    return [model.name for model in read_table("t98g").models if model.name not in made]


def page_with(rows: list[ResultRow]) -> str:
    """The page with the table of these rows in the place of the one that it has."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table_of(rows)}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Take the rows of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that glioma-hf benchmark t98g wrote")
    asked = parser.parse_args()
    rows = rows_of(asked.folder / "rows")
    shutil.rmtree(ROWS, ignore_errors=True)
    ROWS.mkdir()
    for path in (asked.folder / "rows").glob("*.json"):
        if read_row(path).failed is None:
            shutil.copyfile(path, ROWS / path.name)
    PAGE.write_text(page_with(rows), encoding="utf-8")
    print(f"{len(rows)} rows; missing: {'; '.join(missing_from(rows)) or 'none'}")


if __name__ == "__main__":
    main()
