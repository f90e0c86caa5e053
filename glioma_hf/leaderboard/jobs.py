"""What is done with a submission in a process of its own: fetching, checking and scoring it (`bounded.run`)."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from glioma_hf import hub
from glioma_hf.benchmark.results import ResultRow
from glioma_hf.benchmark.scoring import notes_on, score_sets
from glioma_hf.benchmark.scoring_files import InstanceSet, read_predictions, read_references
from glioma_hf.data.prepared import read_prepared
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.jsonfile import read_json
from glioma_hf.leaderboard.bounded import ANSWER, FETCH, JOB
from glioma_hf.leaderboard.metrics import EXTRAS
from glioma_hf.leaderboard.predictions import read_predictions_file, write_predictions
from glioma_hf.leaderboard.words import LABEL_MAPS, MODEL, MODES
from glioma_hf.metrics.intervals import ap_intervals
from glioma_hf.metrics.scoring_options import ScoringOptions

if TYPE_CHECKING:
    from glioma_hf.models.saved import ModelFolder

MAX_OBJECTS = 200_000  # of all images of a submission
BEHIND = 5  # of a scoring's niceness: pages and checks, for which people wait, come first
MAPS = "maps"  # folder of the label maps of a zip
MAX_MAPS = 20_000  # files of a zip of label maps
MAX_UNPACKED = 4 * 2**30  # bytes of them all: what packs well would fill the disk
PREDICTIONS, PACKED, NAMED, ROWS = "predictions.parquet", "model.zip", "model.json", "rows.json"


def check(kind: str, file: str, data: str, split: str, objects: str) -> dict[str, Any]:
    """Whether a file can be scored for a task, as `glioma-hf evaluate` would say; what is kept of it is written.

    Returns what should be known of it. Raises `InputError`.
    """
    if kind == MODEL:
        _unpack_model(Path(file), file).pack(PACKED)
        return {"notes": [], "kept": PACKED, "called": file}
    references = read_references(data, split)
    try:
        predictions, notes = _checked(kind, file, references, split, objects)
    except InputError as error:
        raise InputError(_called(str(error), file)) from None
    write_predictions(PREDICTIONS, predictions)
    return {"notes": notes, "kept": PREDICTIONS, "called": file}


def _checked(kind: str, file: str, references: InstanceSet, split: str, objects: str) -> tuple[InstanceSet, list[str]]:
    """The predictions of a file, and what should be known of them."""
    if kind == LABEL_MAPS:
        folder = _unpacked(Path(file))
        predictions = replace(read_predictions(folder, references), path=file)
    else:
        predictions = read_predictions(file, references)
    count = sum(map(len, predictions.instances.values()))
    if count > MAX_OBJECTS:
        raise InputError(f"{file}: {count} objects, more than the {MAX_OBJECTS} that a submission may have")
    notes = notes_on(references, predictions, objects)
    if not any(map(len, predictions.of_task(objects).values())):
        raise InputError(f"{file}: no object of the task {objects!r} in the images of {split}; see that it is for it")
    return predictions, notes


def fetch(name: str) -> dict[str, Any]:
    """A model by its name, one that comes with the package or a saved one on the Hub; what is kept of it is written.

    Of the Hub the files of a saved model are fetched and nothing else. Returns what it is called. Raises `InputError`.
    """
    from glioma_hf.models import find_base
    from glioma_hf.models.saved import MAX_FILE_BYTES, find_saved

    if hub.is_repo(name):
        saved = find_saved(name, MAX_FILE_BYTES)
        if saved is None:
            raise InputError(f"{name}: no model that glioma-hf train saved lies there on the Hub, for all to see")
        saved.pack(PACKED)
        _unpack_model(Path(PACKED), name)
        return {"notes": [], "kept": PACKED, "called": f"{name}@{saved.path.name[:7]}"}
    family, base = find_base(name)
    if base not in family.bases or base not in family.not_on_hub:
        raise InputError(f"{name[:80]!r} is neither a model that comes with glioma_hf nor USER/NAME on the Hub")
    Path(NAMED).write_text(json.dumps({"model": f"{family.name}:{base}"}), encoding="utf-8")
    return {"notes": [], "kept": NAMED, "called": f"{family.name}:{base}"}


def score(kind: str, payload: str, data: str, split: str, objects: str, model: str) -> dict[str, Any]:
    """The rows of a submission, one a mode, and their intervals, written; a model is run on the images first."""
    references = read_references(data, split)
    fields: dict[str, Any] = {"data_set": read_prepared(data).source, "split": split, "task": objects, "model": model}
    if kind == MODEL:
        predictions, facts = _run_model(Path(payload), data, split, objects, references)
        write_predictions(PREDICTIONS, predictions)
        fields |= facts
    else:
        predictions = read_predictions_file(payload, references)
    names = [references.names[key] for key in references.instances]
    rows = {}
    for mode in MODES:
        options = ScoringOptions(mode=mode)
        row = ResultRow.of(score_sets(references, predictions, objects, options, EXTRAS), names, **fields)
        rows[mode] = {"row": row.model_dump(mode="json"), "interval": ap_intervals(row.counts())[0]}
    Path(ROWS).write_text(json.dumps(rows), encoding="utf-8")
    return {"parameters": fields.get("parameters"), "seconds": fields.get("seconds_per_image")}


def _called(told: str, file: str) -> str:
    """A sentence by the name of the file that its owner knows, not by that of our folder or of nothing."""
    told = re.sub(f"^{MAPS}(?:/|: )", f"{file}: ", told)
    return told if told.startswith(file) else f"{file}: {told}"


def _unpacked(file: Path) -> Path:
    """The label maps of a zip, by their base names, in a folder; nothing else of it is written."""
    from glioma_hf.data.sources.archive import Archive

    folder = Path(MAPS)
    folder.mkdir()
    with Archive(file) as packed:
        names = [name for name in packed.names if PurePosixPath(name).suffix.lower() in (".tif", ".tiff", ".png")]
        if len(names) > MAX_MAPS:
            raise InputError(f"{file.name}: {len(names)} label maps, more than the {MAX_MAPS} that a zip may hold")
        unpacked = 0
        for name in names:
            target = folder / PurePosixPath(name).name
            try:
                if target.exists():
                    raise InputError(f"{file.name}: two label maps are called {target.name}; name them apart")
                data = packed.read(name)
                if (unpacked := unpacked + len(data)) > MAX_UNPACKED:
                    told = f"more than {MAX_UNPACKED >> 20} MB when unpacked; send fewer label maps"
                    raise InputError(f"{file.name}: {told}")
                target.write_bytes(data)
            except OSError as error:  # a name that is too long, say
                told = f"{target.name[:40]} can't be unpacked ({error.strerror})"
                raise InputError(f"{file.name}: {told}; call it as its image") from None
    if not names:
        raise InputError(f"{file.name}: no label map (TIFF or PNG) lies in it")
    return folder


def _unpack_model(file: Path, called: str) -> ModelFolder:
    """The saved model of a zip, known names alone. Raises `InputError` unless it is one, its weights as safetensors.

    No code of it runs and nothing is unpickled.
    """
    from safetensors import SafetensorError, safe_open

    from glioma_hf.models import FAMILIES
    from glioma_hf.models.saved import ModelFolder

    folder = Path("model")
    folder.mkdir()
    try:
        saved = ModelFolder.unpack(file, folder, FAMILIES)
    except InputError as error:
        raise InputError(str(error).replace(file.name, called, 1)) from None
    saved.settings()
    info = saved.info()
    if info.base not in saved.family().not_on_hub and (not hub.is_repo(info.base) or Path(info.base).exists()):
        raise InputError(f"{called}: its base {info.base[:80]!r} is none of {saved.family().title}, nor on the Hub")
    for name in (name for name in saved.weights() if name.endswith(".safetensors")):
        try:
            with safe_open(folder / name, framework="numpy") as weights:
                weights.keys()
        except SafetensorError as error:
            reason = str(error)[:80]
            raise InputError(f"{called}: {name} isn't safetensors ({reason}); save the weights as such") from None
    return saved


def _run_model(
    packed: Path, data: str, split: str, objects: str, references: InstanceSet
) -> tuple[InstanceSet, dict[str, Any]]:
    """What a model, packed or named, finds in the images of a split, and the fields of its row."""
    from glioma_hf.data.splits import load_images
    from glioma_hf.models import FAMILIES, load_segmenter
    from glioma_hf.models.device import device_name
    from glioma_hf.models.saved import ModelFolder
    from glioma_hf.workflows.fingerprint import parameters_of

    typed = False
    if packed.suffix == Path(NAMED).suffix:
        segmenter = load_segmenter(read_json(packed)["model"])
    else:
        folder = Path("model")
        folder.mkdir(exist_ok=True)
        saved = ModelFolder.unpack(packed, folder, FAMILIES)
        segmenter = load_segmenter(folder)
        typed = saved.info().task == "all"  # what it finds is of the task that is scored, unless it tells all apart
    family, base = segmenter.origin.split(":", 1)
    instances: dict[Any, Instances] = {}
    seconds = 0.0
    keys = {name: key for key, name in references.names.items()}
    images = load_images(data, split, "all")
    for image in images:
        started = time.perf_counter()
        found = segmenter.segment(image.pixels)
        seconds += time.perf_counter() - started
        instances[keys[image.name]] = found
    facts = {
        "family": family,
        "base": base,
        "seconds_per_image": seconds / max(len(images), 1),
        "parameters": parameters_of(segmenter),
        "device": device_name(),
        "thresholds": segmenter.settings.model_dump(mode="json"),
    }
    return InstanceSet(instances, references.names, packed.name, references.kinds, typed), facts


WORKS: dict[str, Callable[..., Any]] = {"check": check, FETCH: fetch, "score": score}


def main() -> None:
    """Do the work that is written in this folder, and write the answer."""
    task = json.loads(Path(JOB).read_text(encoding="utf-8"))
    if task["work"] == "score" and hasattr(os, "nice"):
        os.nice(BEHIND)
    if hasattr(signal, "SIGALRM"):  # where nobody is left to end it
        signal.alarm(int(task["bounds"]["seconds"]) + 60)
    try:
        told = {"value": WORKS[task["work"]](**task["facts"])}
    except InputError as error:
        told = {"refused": str(error)}
    except MemoryError:
        told = {"refused": "it needed more memory than this server has; send less in one file", "exceeded": True}
    partial = Path(f"{ANSWER}.partial")
    partial.write_text(json.dumps(told), encoding="utf-8")
    partial.replace(ANSWER)
    sys.exit(0)


if __name__ == "__main__":
    main()
