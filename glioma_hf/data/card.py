"""The data card: YAML for the Hub and `load_dataset`, then prose with the counts of the files at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.sources.base import Source

if TYPE_CHECKING:
    from glioma_hf.data.prepared import Prepared, PreparedSplit

TEMPLATE = Path(__file__).with_name("card_template.md")
TAGS = ("biology", "microscopy", "cell-segmentation", "instance-segmentation")
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (float("inf"), "100K<n<1M"))


class _Plain(yaml.SafeDumper):
    """Without anchors and aliases, which some readers of YAML don't follow."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always: what comes twice is written twice."""
        return True


def card(
    source: Source,
    prepared: Prepared,
    folder: Path,
    name: str = "THIS_FOLDER",
    pictures: Mapping[str, str] | None = None,
) -> str:
    """The text of README.md.

    Args:
        prepared: what is in the folder. Where it isn't what the source published, the card says that it is another
            data set in the same layout, and neither title nor licence nor citation are taken over.
        folder: where the Parquet files lie, for their sizes.
        name: what `load_dataset` opens, in the example.
        pictures: captions by file name in the folder.
    """
    splits, other = prepared.splits, source.is_other(prepared.splits)
    title = f"Data in the layout of {source.title}" if other else source.title
    configs = _configs(source, splits)
    columns = _columns(source.categories)
    total = sum(split.images for split in splits)
    front = {
        "pretty_name": title,
        "license": "other" if other else source.licence,
        "task_categories": ["image-segmentation"],
        "tags": [*TAGS, *source.tags],
        "size_categories": [next(size for most, size in SIZES if total < most)],
        "configs": configs,
        "dataset_info": [_info(c, columns, splits, folder) for c in configs],
    }
    used = [c for c in source.categories if any(s.objects.get(c, 0) for s in splits)]
    header = f"| subset | split | images | {' | '.join(used)} |\n|{'---|' * (3 + len(used))}"
    counts = [" | ".join(str(s.objects.get(c, 0)) for c in used) for s in splits]
    lines = [f"| {s.subset} | {s.split} | {s.images} | {count} |" for s, count in zip(splits, counts, strict=True)]
    body = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=title,
        homepage=source.homepage,
        summary=_another(source, prepared) if other else source.summary,
        pictures="".join(f"\n![{caption}]({file})\n\n*{caption}*\n" for file, caption in (pictures or {}).items()),
        table="\n".join([header, *lines]),
        remarks="".join(f"\n{remark}\n" for remark in _remarks(source, prepared)),
        example="\n".join(f'load_dataset("{name}", "{c["config_name"]}")  # {_split_names(c)}' for c in configs),
        categories=", ".join(f"`{c}`" for c in source.categories),
        licence="That of the images in the archive; state it here." if other else source.licence_note,
        limits="Not known; state them here." if other else source.limits,
        citation=("The layout is that of:\n\n" if other else "") + f"```bibtex\n{source.citation}\n```",
    )
    return f"---\n{yaml.dump(front, Dumper=_Plain, sort_keys=False)}---\n" + body


def _info(config: dict[str, Any], columns: Any, splits: Sequence[PreparedSplit], folder: Path) -> dict[str, Any]:
    """Features and sizes of a config.

    `datasets` keeps what it read under a key made of these, not of the files: without sizes a folder would be given
    the rows of another of the same name that was opened before.
    """
    images = {file: (split.name, split.images) for split in splits for file in split.files}
    sizes = []
    for entry in config["data_files"]:
        counted = dict(images[file] for file in entry["path"])
        size = sum((folder / file).stat().st_size for file in entry["path"])
        sizes.append({"name": entry["split"], "num_bytes": size, "num_examples": sum(counted.values())})
    total = sum(size["num_bytes"] for size in sizes)
    return {
        "config_name": config["config_name"],
        "features": columns,
        "splits": sizes,
        "download_size": total,
        "dataset_size": total,
    }


def _another(source: Source, prepared: Prepared) -> str:
    return (
        f"**This is not {source.title}** but another archive (`{prepared.archive}`) in its layout. Figures measured on "
        f"it are not {source.title} figures. Describe it here before you share it."
    )


def _remarks(source: Source, prepared: Prepared) -> Iterator[str]:
    if differences := source.differences(prepared.splits):
        yield f"Against {source.title} as published: {'; '.join(differences)}."
    if prepared.repairs:
        told = (f"{count} {kind}" for kind, count in prepared.repairs.items())
        yield f"Repaired while reading: {', '.join(told)}."


def _split_names(config: Mapping[str, Any]) -> str:
    return ", ".join(files["split"] for files in config["data_files"])


def _configs(source: Source, splits: Sequence[PreparedSplit]) -> list[dict[str, Any]]:
    subsets = list(dict.fromkeys(s.subset for s in splits))
    official = {
        subset: [{"split": s.split, "path": s.files} for s in splits if s.subset == subset] for subset in subsets
    }
    if not source.splits_by_subset:
        files = [entry for subset in subsets for entry in official[subset]]
        return [{"config_name": "default", "default": True, "data_files": files}]
    by_subset = [
        {"split": subset, "path": [file for s in splits if s.subset == subset for file in s.files]}
        for subset in subsets
    ]
    return [
        {"config_name": "default", "default": True, "data_files": by_subset},
        *({"config_name": subset, "data_files": official[subset]} for subset in subsets),
    ]


def _columns(categories: Sequence[str]) -> list[dict[str, Any]]:
    """The columns in the card's YAML, spelled as every release of `datasets` from 3.6 on reads them."""
    assert tuple(categories) == CATEGORIES[: len(categories)], "categories are a beginning of CATEGORIES"
    names = {str(i): name for i, name in enumerate(categories)}
    objects: list[dict[str, Any]] = [
        {"name": "id", "dtype": "int64"},
        {"name": "category", "dtype": {"class_label": {"names": names}}},
        {"name": "segmentation", "sequence": {"sequence": "float64"}},
        {"name": "bbox", "sequence": "float64", "length": 4},
        {"name": "area", "dtype": "float64"},
    ]
    plain = {
        "image_id": "int64",
        "file_name": "string",
        "width": "int32",
        "height": "int32",
        "subset": "string",
        "split": "string",
    }
    return [
        {"name": "image", "dtype": "image"},
        *({"name": name, "dtype": kind} for name, kind in plain.items()),
        {"name": "objects", "list": objects},
        {"name": "ignored", "list": [item for item in objects if item["name"] in ("category", "segmentation")]},
    ]
