"""The stages of a table: models, predictions, cells; what is there already is left as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glioma_hf.benchmark.results import ResultRow, read_row
from glioma_hf.benchmark.table import Cell, Table
from glioma_hf.data.splits import find_split
from glioma_hf.errors import InputError, NotWritten
from glioma_hf.executor import Workers
from glioma_hf.faults import write_fault
from glioma_hf.files import write_text
from glioma_hf.places import MARKER
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.workflows.tables.pieces import (
    Found,
    MadeCell,
    ModelRecord,
    Predicting,
    Scoring,
    SplitRecord,
    make_model,
    predict_images,
    score_cell,
    versions,
)
from glioma_hf.workflows.tables.plan import Maker, Plan, predictions_of, slug

MODELS, PREDICTIONS, ROWS = "models", "predictions", "rows"
IMAGES_A_PIECE = 4

Split = tuple[str, str, str]  # key of a maker, folder of a data set, split


@dataclass
class _Work:
    """A cell on its way."""

    cell: Cell
    split: str
    maker: Maker | None = None
    job: str = ""
    row: ResultRow | None = None
    done: bool = field(default=False)


class TableRun:
    """One run of a table in its folder."""

    def __init__(self, table: Table, folder: Path, workers: Workers, on_progress: OnProgress):
        self.table, self.folder, self.workers, self.tell = table, folder, workers, on_progress
        self.plan = Plan(table)
        self.records: dict[str, ModelRecord] = {}
        self.splits: dict[Split, SplitRecord] = {}
        self.said = versions()

    def run(self) -> tuple[list[MadeCell], int]:
        """All stages, each after the one before: the cells, and how many were done before."""
        works = [self._begin(cell) for cell in self.table.cells()]
        kept = sum(work.done for work in works)
        if kept:
            self.tell(Progress(f"{kept} of {len(works)} cells are done already"))
        self._make_models(works)
        self._predict(works)
        self._score(works)
        return [self._made(work) for work in works], kept

    def _made(self, work: _Work) -> MadeCell:
        assert work.row is not None
        return MadeCell(work.cell, work.row, None if work.row.failed is not None else self._scoring(work))

    # -- cells ----------------------------------------------------------------------------

    def _begin(self, cell: Cell) -> _Work:
        """What is known of a cell: its row, where that is there already, or what it needs."""
        work = _Work(cell, cell.scored.split)
        try:
            work.split = self.plan.split_name(cell.scored)
            work.maker = self.plan.maker(cell)
            work.job = self.plan.cell_job(cell, work.maker)
        except Exception as error:
            self._fail(work, error)
            return work
        if self._row_file(work).is_file():
            try:
                there = read_row(self._row_file(work))
            except InputError:
                there = None
            if there is not None and there.job == work.job and there.failed is None and self._recall(work):
                work.row, work.done = there, True
        return work

    def _write_row(self, work: _Work) -> None:
        """Its name is ours alone: one that is there, damaged even, is replaced."""
        assert work.row is not None
        write_text(self._row_file(work), work.row.model_dump_json(indent=2))

    def _row_file(self, work: _Work) -> Path:
        cell = work.cell
        name = slug(cell.scored.data, work.split, cell.task, cell.mode, cell.model.name, cell.seed)
        return self.folder / ROWS / f"{name}.json"

    def _recall(self, work: _Work) -> bool:
        """The record of the model of a cell whose row is there; whether it is there too."""
        if work.maker is None:
            return True
        record = _read(self._record(work.maker), ModelRecord)
        if record is not None:
            self.records[work.maker.key] = record
        return record is not None and self._files(self._split(work))[0].is_file()

    def _open(self, works: Iterable[_Work]) -> list[_Work]:
        return [work for work in works if work.row is None]

    def _fail(self, work: _Work, error: Exception) -> None:
        """Keep a row that says why a cell has no scores; what keeps files from being written stops the table."""
        reason = self._reason(error)
        work.row = ResultRow.of_failure(reason, self.table.options(work.cell.mode), **self._fields(work))
        self.tell(Progress(f"failed: {work.cell.told()}: {reason}"))
        self._write_row(work)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, NotWritten):
            raise error
        if (fault := write_fault(error, self.folder)) is not None:
            raise NotWritten(self.folder, fault) from error
        if isinstance(error, InputError):
            return str(error)
        return f"a fault of glioma-hf or of a library ({type(error).__name__}: {' '.join(str(error).split())[:300]})"

    def _fields(self, work: _Work) -> dict[str, Any]:
        """Of a row, what is known before it is scored."""
        cell, maker = work.cell, work.maker
        fields: dict[str, Any] = {
            "data_set": cell.scored.data,
            "split": work.split,
            "task": cell.task,
            "model": cell.model.name,
            "seed": cell.seed,
            "versions": self.said,
            "job": work.job or None,
        }
        record = self.records.get(maker.key) if maker is not None else None
        if maker is None or record is None:
            return fields
        fields |= {
            "family": record.family,
            "base": record.base,
            "recipe": record.recipe,
            "seed": record.seed,
            "thresholds": record.settings,
            "thresholds_from": record.thresholds_from,
            "training_images": record.training_images,
            "train_seconds": record.seconds,
            "train_cpu_seconds": record.cpu_seconds,
            "validation_ap50": record.validation_ap50,
        }
        split = self.splits.get(self._split(work))
        if split is not None:
            fields |= {
                "seconds_per_image": split.seconds / max(split.images, 1),
                "cpu_seconds_per_image": None
                if split.cpu_seconds is None
                else split.cpu_seconds / max(split.images, 1),
                "parameters": split.parameters,
                "device": split.device,
                "predictions": self._files(self._split(work))[0].relative_to(self.folder).as_posix(),
            }
        return fields

    # -- stages ---------------------------------------------------------------------------

    def _do(self, work: Callable[[Any, Any], Any], pieces: Sequence[Any], shared: Any) -> Iterable[tuple[int, Any]]:
        """Values or errors of pieces as they come."""
        for outcome in self.workers.run(work, pieces, shared):
            yield outcome.position, outcome.value if outcome.error is None else outcome.error

    def _make_models(self, works: list[_Work]) -> None:
        """Those that open cells need and that aren't there."""
        makers = {work.maker.key: work.maker for work in self._open(works) if work.maker is not None}
        missing = []
        for maker in makers.values():
            there = _read(self._record(maker), ModelRecord)
            if there is not None and there.job == maker.job and self._is_whole(there):
                self.records[maker.key] = there
            else:
                missing.append(maker)
        folder = str(self.folder / MODELS)
        shared = (folder, self.tell if self.workers.alone else ignore)
        for place, made in self._do(make_model, missing, shared):
            maker = missing[place]
            if isinstance(made, Exception):
                self._fail_all(works, made, maker.key)
                continue
            self.records[maker.key] = made
            write_text(self._record(maker), made.model_dump_json(indent=2))
            ap = "" if made.validation_ap50 is None else f", AP50 {made.validation_ap50:.3f} on the validation images"
            self.tell(Progress(f"model {place + 1} of {len(missing)}: {maker.key}{ap}"))

    def _record(self, maker: Maker) -> Path:
        return self.folder / MODELS / f"{maker.key}.json"

    def _is_whole(self, record: ModelRecord) -> bool:
        return record.folder is None or (self.folder / MODELS / record.folder / MARKER).is_file()

    def _split(self, work: _Work) -> Split:
        assert work.maker is not None
        return work.maker.key, self.plan.folder(work.cell.scored.data), work.split

    def _files(self, split: Split) -> tuple[Path, Path]:
        """COCO results of a split, and what is known of them."""
        place = self.folder / PREDICTIONS / split[0] / slug(*split[1:])
        return place.with_name(f"{place.name}.json"), place.with_name(f"{place.name}.about.json")

    def _predict(self, works: list[_Work]) -> None:
        """The splits that open cells need and that aren't there, some images a piece."""
        jobs = {self._split(work): work for work in self._open(works) if work.maker is not None}
        owners: list[Split] = []
        pieces: list[Predicting] = []
        for split, work in jobs.items():
            for piece in self._portions(split, work):
                owners.append(split)
                pieces.append(piece)
        found: dict[Split, dict[int, Found]] = {}
        broken: set[Split] = set()
        for number, (place, made) in enumerate(self._do(predict_images, pieces, str(self.folder / MODELS)), start=1):
            split = owners[place]
            if isinstance(made, Exception):
                if split not in broken:
                    self._fail_all(works, made, split)
                broken.add(split)
                continue
            parts = found.setdefault(split, {})
            parts[place] = made
            told = f"predicted {number} of {len(pieces)} portions of images: {jobs[split].cell.model.name}"
            self.tell(Progress(told, number, len(pieces)))
            if len(parts) == owners.count(split):
                self._keep(split, jobs[split], [part for _, part in sorted(found.pop(split).items())])

    def _portions(self, split: Split, work: _Work) -> Iterator[Predicting]:
        """What is to be predicted of a split; nothing where that is there."""
        assert work.maker is not None
        there = _read(self._files(split)[1], SplitRecord)
        if there is not None and there.job == self._split_job(work.maker, split) and self._files(split)[0].is_file():
            self.splits[split] = there
            return
        numbers = list(range(1, find_split(split[1], split[2]).images + 1))
        for begin in range(0, len(numbers), IMAGES_A_PIECE):
            chosen = tuple(numbers[begin : begin + IMAGES_A_PIECE])
            yield Predicting(work.maker, self.records[work.maker.key], split[1], split[2], chosen)

    def _split_job(self, maker: Maker, split: Split) -> str:
        return json.dumps([maker.job, find_split(split[1], split[2]).checksums])

    def _keep(self, split: Split, work: _Work, parts: list[Found]) -> None:
        """A split's predictions as a file; what is known of them comes last, so that both are there then."""
        assert work.maker is not None
        results, about = self._files(split)
        results.parent.mkdir(exist_ok=True)
        rows = [row for part in parts for row in part.results]
        write_text(results, json.dumps(rows))
        record = SplitRecord(
            job=self._split_job(work.maker, split),
            images=find_split(split[1], split[2]).images,
            cells=len(rows),
            seconds=sum(part.seconds for part in parts),
            cpu_seconds=sum(part.cpu_seconds for part in parts),
            device=parts[0].device,
            parameters=parts[0].parameters,
        )
        write_text(about, record.model_dump_json(indent=2))
        self.splits[split] = record

    def _score(self, works: list[_Work]) -> None:
        """All open cells."""
        ready, pieces = [], []
        for work in self._open(works):
            try:
                pieces.append(self._scoring(work))
                ready.append(work)
            except InputError as error:
                self._fail(work, error)
        for number, (place, made) in enumerate(self._do(score_cell, pieces, None), start=1):
            work = ready[place]
            if isinstance(made, Exception):
                self._fail(work, made)
                continue
            work.row = made
            self._write_row(work)
            first = f"AP{100 * made.scoring.thresholds[0]:.4g}"
            ap = made.scores[first.lower()]
            self.tell(
                Progress(f"cell {number} of {len(pieces)}: {work.cell.told()}: {first} {ap:.3f}", number, len(pieces))
            )

    def _scoring(self, work: _Work) -> Scoring:
        cell, maker = work.cell, work.maker
        place = predictions_of(cell, work.split) if maker is None else self._files(self._split(work))[0]
        return Scoring(
            self.plan.folder(cell.scored.data),
            work.split,
            {name: str(Path(file).absolute()) for name, file in cell.scored.annotators.items()},
            str(place.absolute()),
            maker is None or self.records[maker.key].typed,
            cell.task,
            self.table.options(cell.mode),
            tuple(self.table.extras),
            self._fields(work),
        )

    def _fail_all(self, works: list[_Work], error: Exception, key: str | Split) -> None:
        """All open cells that need what failed: a model, by its key, or its predictions of a split."""
        for work in self._open(works):
            if work.maker is not None and key in (work.maker.key, self._split(work)):
                self._fail(work, error)


def _read(path: Path, kind: Any) -> Any:
    """A record, None where there is none that can be read."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
