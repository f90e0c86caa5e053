"""What `glioma-hf transfer` does: all repeats of a study, those that are done already left as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glioma_hf import __version__
from glioma_hf.benchmark.study import Study, read_study
from glioma_hf.benchmark.study_results import Average, Difference, RepeatResult, average, differences
from glioma_hf.errors import InputError, NotWritten
from glioma_hf.executor import Workers
from glioma_hf.faults import write_fault
from glioma_hf.files import growing_folder, write_text
from glioma_hf.places import MARKER
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.workflows.transfer.pieces import PRETRAINED, PretrainPiece, RepeatPiece, pretrain, repeat
from glioma_hf.workflows.transfer.plan import StudyPlan, inputs_of, merged
from glioma_hf.workflows.transfer.written import write_study

KIND = "study"  # of folder
REPEATS = "repeats"


@dataclass(frozen=True)
class MadeStudy:
    """A study as it was made.

    Attributes:
        study: with what was given in place of its own.
        results: by variant, each repeat's.
        failed: by variant, why repeats are missing.
        done_before: how many repeats were there already.
    """

    study: Study
    results: dict[str, list[RepeatResult]]
    failed: dict[str, str] = field(default_factory=dict)
    done_before: int = 0

    def averages(self) -> list[Average]:
        """DiceScoreAV of each row and pair of resolutions, in the study's order."""
        return [
            average(v.name, pair, self.results[v.name], paper, self.failed.get(v.name))
            for v in self.study.variants
            for pair, paper in zip(v.scored, v.paper or [None] * len(v.scored), strict=True)
        ]

    def differences(self) -> list[Difference]:
        """Of the rows that were scored at the same pair of resolutions."""
        pairs = dict.fromkeys(pair for variant in self.study.variants for pair in variant.scored)
        return [
            each
            for pair in pairs
            for each in differences(
                {v.name: self.results[v.name] for v in self.study.variants if pair in v.scored}, pair
            )
        ]


def transfer(
    study: str | Path | Study,
    out: str | Path,
    data: Mapping[str, str] | None = None,
    repeats: int | None = None,
    workers: Workers | None = None,
    on_progress: OnProgress = ignore,
) -> MadeStudy:
    """Make a study: pretrain, train and score each row's repeats, and write tables and pictures into the folder `out`.

    `out` holds `repeats/` (a JSON file each, see `RepeatResult`), `pretrained/` (saved U-Nets), and the study as
    `study.md`, `study.tex`, `study.csv` and `index.html` with `curves.png` and `panels/`. Run again it goes on: what is
    there and made from the same is kept, and a training that was broken off goes on from its last checkpoint. The
    first repeat of all rows comes before the second of any.

    Args:
        study: a name (see `study_names`), a YAML file, or a `Study`.
        data: folders of data sets by name, in place of the study's or added to them.
        repeats: K, in place of the study's.
        workers: who does the pieces; this process without them.

    A repeat that fails is told and tried again in the next run; the rest goes on. Raises `InputError` for a study that
    can't be read or planned and a place that can't be written to.

    Example:
        transfer("t98g", "t98g_study", data={"t98g": "t98g", "synthetic": "synthetic"})
    """
    asked = merged(study if isinstance(study, Study) else read_study(study), dict(data or {}), repeats)
    plan = StudyPlan(asked)
    inputs = [*inputs_of(asked), None if isinstance(study, Study) else study]
    with growing_folder(out, KIND, inputs) as folder:
        write_text(folder / MARKER, json.dumps({"kind": KIND, "glioma_hf": __version__}) + "\n")
        for name in (REPEATS, PRETRAINED):
            (folder / name).mkdir(exist_ok=True)
        with workers or Workers() as those:
            made = _Run(plan, folder, those, on_progress).made()
        write_study(folder, made, plan, on_progress)
    return made


class _Run:
    """A study in the making."""

    def __init__(self, plan: StudyPlan, folder: Path, workers: Workers, on_progress: OnProgress):
        self.plan, self.folder, self.workers, self.tell = plan, folder, workers, on_progress
        self.shared = (str(folder), on_progress if workers.alone else ignore)
        self.failed: dict[str, str] = {}

    def made(self) -> MadeStudy:
        """What is there already, and all else."""
        there = [self._there(piece) for piece in self.plan.repeats]
        missing = [piece for piece, result in zip(self.plan.repeats, there, strict=True) if result is None]
        results = [result for result in there if result is not None]
        kept = len(results)
        broken = self._pretrain({piece.base for piece in missing})
        for piece in missing:
            if piece.base in broken:
                self._fail(piece.variant, broken[piece.base])
        open_ = [piece for piece in missing if piece.base not in broken]
        for number, (place, made) in enumerate(self._do(repeat, open_), start=1):
            piece = open_[place]
            if isinstance(made, Exception):
                self._fail(piece.variant, made)
                continue
            write_text(self._file(piece), made.model_dump_json(indent=2))
            results.append(made)
            dice = sum(made.scores[0]) / len(made.scores[0])
            told = f"{number} of {len(open_)}: {piece.variant}, repeat {piece.repeat}: DiceScore {dice:.3f}"
            self.tell(Progress(told, number, len(open_)))
        results.sort(key=lambda result: result.repeat)
        names = [variant.name for variant in self.plan.study.variants]
        by_variant = {name: [each for each in results if each.variant == name] for name in names}
        return MadeStudy(self.plan.study, by_variant, self.failed, kept)

    def _pretrain(self, bases: set[str]) -> dict[str, Exception]:
        """Those that repeats need and that aren't there; by key the errors of those that failed."""
        wanted = [
            piece for key, piece in self.plan.pretrained.items() if key in bases and not self._is_pretrained(piece)
        ]
        broken: dict[str, Exception] = {}
        for place, made in self._do(pretrain, wanted):
            piece = wanted[place]
            if isinstance(made, Exception):
                broken[piece.key] = made
                continue
            write_text(self._record(piece), json.dumps({"job": piece.job}) + "\n")
            self.tell(Progress(f"pretrained {piece.key}"))
        return broken

    def _do(self, work: Callable[[Any, Any], Any], pieces: Sequence[Any]) -> Any:
        for outcome in self.workers.run(work, pieces, self.shared):
            yield outcome.position, outcome.value if outcome.error is None else outcome.error

    def _fail(self, variant: str, error: Exception) -> None:
        if isinstance(error, NotWritten):
            raise error
        if (fault := write_fault(error, self.folder)) is not None:
            raise NotWritten(self.folder, fault) from error
        reason = str(error)
        if not isinstance(error, InputError):
            reason = f"a fault of glioma-hf or of a library ({type(error).__name__}: {' '.join(reason.split())[:300]})"
        self.failed.setdefault(variant, reason)
        self.tell(Progress(f"failed: {variant}: {reason}"))

    def _file(self, piece: RepeatPiece) -> Path:
        return self.folder / REPEATS / f"{piece.key}.json"

    def _there(self, piece: RepeatPiece) -> RepeatResult | None:
        """A repeat that was made before from the same."""
        try:
            result = RepeatResult.model_validate_json(self._file(piece).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError):
            return None
        return result if result.job == piece.job else None

    def _record(self, piece: PretrainPiece) -> Path:
        return self.folder / PRETRAINED / f"{piece.key}.json"

    def _is_pretrained(self, piece: PretrainPiece) -> bool:
        try:
            return bool(json.loads(self._record(piece).read_text())["job"] == piece.job)
        except (OSError, ValueError, KeyError, TypeError):
            return False
