"""Groups of results as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from glioma_hf.benchmark.comparison import Group, Line, ap_names
from glioma_hf.benchmark.paper import paper_source

RATIOS = ("precision", "recall", "f1")
MINE, THEIRS = "here", "paper"
COSTS = ("s an image", "CPU s an image", "parameters", "training images", "CPU min of training")


def score_names(group: Group) -> list[str]:
    """The columns of a group: precision, recall and F1 at the first threshold, and the APs."""
    rows = [row for line in group.lines for row in line.rows]
    aps = ap_names(rows[0]) if rows else ["ap50", "ap75", "ap90"]
    mean = ["ap50_95"] if any("ap50_95" in line.values for line in group.lines) else []
    return [*RATIOS, *aps, *mean]


def cell_text(line: Line, name: str, digits: int = 3) -> str:
    """A score with its interval, such as "0.492 (0.441 to 0.537)", "-" where there is none."""
    if name not in line.values:
        return "-"
    text = f"{line.values[name]:.{digits}f}"
    low, high = line.intervals.get(name, (None, None))
    return text if low is None or high is None else f"{text} ({low:.{digits}f} to {high:.{digits}f})"


def name_of(line: Line) -> str:
    """The model's name, with the number of seeds, or whose it is."""
    seeds = f", mean of {line.seeds} seeds" if line.seeds > 1 else ""
    return f"{line.model}{' (the paper)' if line.paper else seeds}"


def to_markdown(title: str, note: str, groups: Sequence[Group]) -> str:
    """A page of Markdown, a table for each group."""
    parts = [f"# {title}", *([note] if note else []), _legend(groups)]
    for group in groups:
        names = score_names(group)
        head = ["model", *names, *COSTS]
        lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for line in group.lines:
            if not line.values:
                lines.append(f"| {_bar(line.model)} | failed: {_bar(line.failed or '')} |" + " |" * (len(head) - 2))
                continue
            cells = [_bar(name_of(line)), *(cell_text(line, name) for name in names), *costs_of(line)]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append(f"## {group.title}\n\n" + "\n".join(lines))
        if group.differences:
            parts.append("\n".join(f"- {told}" for told in differences_told(group)))
        covered = list(overlap_table(group))
        if covered:
            limits = [f"{told} ({number:.0f})" for told, number, _, _ in covered[0][1]]
            head = ["recall by how much of a reference others cover", *limits, "AP of contested ones"]
            lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
            for line, shares in covered:
                recalls = [f"{recall:.3f}" if number else "-" for _, number, recall, _ in shares]
                contested = f"{line.values['ap_contested']:.3f}" if line.values.get("references_contested") else "-"
                lines.append(f"| {' | '.join([_bar(name_of(line)), *recalls, contested])} |")
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def costs_of(line: Line) -> list[str]:
    """What a model takes, in the order of `COSTS`."""

    def told(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    minutes = None if line.train_cpu_seconds is None else line.train_cpu_seconds / 60
    return [
        told(line.seconds, ".2f"),
        told(line.cpu_seconds, ".2f"),
        told(line.parameters, ","),
        told(line.training_images, ""),
        told(minutes, ".1f"),
    ]


def differences_told(group: Group) -> list[str]:
    """A sentence for each pair of models."""
    return [
        f"{d.first} over {d.second}: {d.by:+.3f} ({d.interval[0]:+.3f} to {d.interval[1]:+.3f}), "
        + ("exceeds its interval" if d.exceeds else "within chance of these images")
        for d in group.differences
    ]


def to_latex(groups: Sequence[Group]) -> str:
    """A `tabular` (booktabs) for each group; percent, as the paper prints them."""
    parts = ["% Needs \\usepackage{booktabs}. Percent; intervals of 95 % by bootstrap over images."]
    for group in groups:
        names = score_names(group)
        lines = [
            f"% {group.title}",
            f"\\begin{{tabular}}{{l{'r' * len(names)}}}",
            "\\toprule",
            f"Model & {' & '.join(_tex(name) for name in names)} \\\\",
            "\\midrule",
        ]
        for line in group.lines:
            if line.values:
                cells = [f"{100 * line.values[name]:.1f}" if name in line.values else "--" for name in names]
                lines.append(f"{_tex(name_of(line))} & {' & '.join(cells)} \\\\")
        parts.append("\n".join([*lines, "\\bottomrule", "\\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


def to_csv(groups: Sequence[Group]) -> str:
    """All scores of all lines, one line each."""
    scores = list(dict.fromkeys(name for group in groups for line in group.lines for name in line.values))
    ends = list(dict.fromkeys(name for group in groups for line in group.lines for name in line.intervals))
    head = ["data_set", "split", "task", "mode", "model", "from", "seeds", *scores]
    head += [f"{name}_{end}" for name in ends for end in ("low", "high")]
    text = io.StringIO()
    table = csv.DictWriter(
        text,
        [*head, "seconds_per_image", "cpu_seconds_per_image", "train_cpu_seconds", "parameters", "failed"],
        lineterminator="\n",
    )
    table.writeheader()
    for group in groups:
        for line in group.lines:
            row: dict[str, object] = {
                "data_set": group.data_set,
                "split": group.split,
                "task": group.task,
                "mode": group.mode,
                "model": line.model,
                "from": THEIRS if line.paper else MINE,
                "seeds": line.seeds or "",
                "seconds_per_image": line.seconds,
                "cpu_seconds_per_image": line.cpu_seconds,
                "train_cpu_seconds": line.train_cpu_seconds,
                "parameters": line.parameters,
                "failed": line.failed,
            }
            limits = {
                f"{name}_{end}": value
                for name, interval in line.intervals.items()
                for end, value in zip(("low", "high"), interval, strict=True)
            }
            table.writerow(row | line.values | limits)
    return text.getvalue()


def _legend(groups: Sequence[Group]) -> str:
    text = (
        "AP = TP / (TP + FP + FN), counts pooled over the images of the split; precision, recall and F1 are at the "
        "first threshold. In brackets the 95 % interval by bootstrap over the images. A difference exceeds its "
        "interval where that, by bootstrap over the images for both models at once, leaves out 0; nothing is corrected "
        "for the number of differences."
    )
    if any(line.paper for group in groups for line in group.lines):
        text += f" Rows of the paper are its own figures for Glioma C6 ({paper_source()}), not made here."
    return text


def _bar(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _tex(text: str) -> str:
    """For LaTeX, whose own signs are escaped."""
    text = text.replace("\\", " ")
    return re.sub(r"([&%$#_{}])", r"\\\1", text).replace("~", "\\textasciitilde{}").replace("^", "\\textasciicircum{}")


def overlap_table(group: Group) -> Iterator[tuple[Line, list[tuple[str, float, float, float]]]]:
    """Of each line the references by how much others cover them, if any do: limits in words, number, recall, IoU."""
    for line in group.ours:
        found = []
        for name in line.values:
            match = re.fullmatch(r"references_covered_([\d.]+)_([\d.]+)", name)
            if match is not None:
                end = f"covered_{match[1]}_{match[2]}"
                told = f"{match[1]} to {match[2]} %"
                found.append((told, line.values[name], line.values[f"recall_{end}"], line.values[f"miou_{end}"]))
        if any(number for _, number, _, _ in found[1:]):
            yield line, found
