"""A study's averages as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from glioma_hf.benchmark.study_results import Average, Difference
from glioma_hf.metrics.intervals import Interval

SOURCE = "Computer Optics 49(5), 2025, CO-1609"
LEGEND = (
    "DiceScoreAV(R1, R2): the image is given at R1, masks are compared at R2; the mean over all test images of all "
    "repeats. Intervals of 95 %: over repeats by Student's t of their means (repeats share images, so it is too "
    "narrow), over images by bootstrap, each image drawn with all that it scored in any repeat."
)


def interval_text(interval: Interval | None, digits: int = 3) -> str:
    """Such as "0.812 to 0.861", "-" where there is none."""
    return "-" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def difference_told(difference: Difference) -> str:
    """A sentence."""
    signed = ", ".join(
        f"{low:+.3f} to {high:+.3f} over {what}"
        for what, each in (("repeats", difference.over_repeats), ("images", difference.over_images))
        if each is not None
        for low, high in (each,)
    )
    verdict = "exceeds both intervals" if difference.exceeds else "within chance of these images and repeats"
    pair = ", ".join(difference.pair)
    return f"{difference.first} over {difference.second} at ({pair}): {difference.by:+.3f} ({signed or '-'}), {verdict}"


def to_markdown(
    title: str, note: str, paper: str, averages: Sequence[Average], differences: Sequence[Difference]
) -> str:
    """A page of Markdown: one table, and a sentence for each pair of rows."""
    head = ["row", "R1", "R2", "DiceScoreAV", "over repeats", "over images", "repeats"]
    with_paper = any(each.paper is not None for each in averages)
    head += [f"the paper ({paper})"] if with_paper else []
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for each in averages:
        dice = "-" if each.dice is None else f"{each.dice:.3f}"
        cells = [_bar(each.variant), *each.pair, dice]
        cells += [interval_text(each.over_repeats), interval_text(each.over_images), str(each.repeats)]
        cells += ["-" if each.paper is None else f"*{each.paper:.3f}*"] if with_paper else []
        lines.append(f"| {' | '.join(cells)} |")
    failed = {each.variant: each.failed for each in averages if each.failed}
    parts = [f"# {title}", *([note] if note else []), _legend(with_paper), "\n".join(lines)]
    parts += ["\n".join(f"- {_bar(name)} failed: {_bar(reason)}" for name, reason in failed.items())] if failed else []
    if differences:
        parts.append("## Differences\n\n" + "\n".join(f"- {difference_told(each)}" for each in differences))
    return "\n\n".join(parts) + "\n"


def to_latex(averages: Sequence[Average]) -> str:
    """A `tabular` (booktabs), DiceScoreAV as the paper prints it."""
    lines = [
        "% Needs \\usepackage{booktabs}. In brackets: 95 % interval over repeats.",
        "\\begin{tabular}{lllrr}",
        "\\toprule",
        "Row & $R_1$ & $R_2$ & here & paper \\\\",
        "\\midrule",
    ]
    for each in averages:
        dice = "--" if each.dice is None else f"{each.dice:.3f} ({interval_text(each.over_repeats)})"
        paper = "--" if each.paper is None else f"{each.paper:.3f}"
        lines.append(f"{_tex(each.variant)} & {_tex(each.pair[0])} & {_tex(each.pair[1])} & {dice} & {paper} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def to_csv(averages: Sequence[Average]) -> str:
    """All of it, a line each."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    ends = ["repeats_low", "repeats_high", "images_low", "images_high"]
    table.writerow(["row", "r1", "r2", "dice", "dice_loss", *ends, "repeats", "paper", "failed"])
    for each in averages:
        limits = [*(each.over_repeats or ("", "")), *(each.over_images or ("", ""))]
        loss = None if each.dice is None else 1 - each.dice
        table.writerow([each.variant, *each.pair, each.dice, loss, *limits, each.repeats, each.paper, each.failed])
    return text.getvalue()


def _legend(with_paper: bool) -> str:
    return LEGEND + (
        f" In italics: the paper's own figures for Glioma C6 ({SOURCE}), not made here." if with_paper else ""
    )


def _bar(text: str) -> str:
    return text.replace("|", "\\|")


def _tex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text
