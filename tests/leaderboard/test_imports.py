"""Rows of `glioma-hf benchmark` on a leaderboard."""

from __future__ import annotations

import shutil

import pytest
from sqlalchemy import select

from glioma_hf import InputError
from glioma_hf.benchmark.results import ResultRow, read_row, write_row
from glioma_hf.benchmark.scoring import score_sets
from glioma_hf.benchmark.scoring_files import read_predictions, read_references
from glioma_hf.leaderboard.database import Database, content
from glioma_hf.leaderboard.imports import import_rows, read_about
from glioma_hf.leaderboard.standings import Asked, standings
from glioma_hf.leaderboard.submissions import ModelFacts, submit
from glioma_hf.leaderboard.tables import Model, Prediction, Scoring
from glioma_hf.metrics.scoring_options import ScoringOptions
from tests.leaderboard.made import TASK

KEPT = "predictions/two/results.json"


@pytest.fixture
def table(folder, results, tmp_path):
    """A folder as benchmark writes it: two models in two modes, one of them with its predictions, and one failure."""
    place = tmp_path / "table"
    (place / KEPT).parent.mkdir(parents=True)
    (place / "rows").mkdir()
    shutil.copy(results, place / KEPT)
    references = read_references(folder, "spec/test")
    names = [references.names[key] for key in references.instances]
    facts = {"data_set": "synthetic", "split": "spec/test", "task": "cells", "parameters": 7, "seconds_per_image": 0.5}
    for mode in ("overlapping", "flattened"):
        scores = score_sets(references, read_predictions(results, references), "cells", ScoringOptions(mode=mode))
        for name, more in (("One", {"recipe": {"seed": 3}, "seed": 3}), ("Two", {"predictions": KEPT})):
            row = ResultRow.of(scores, names, **facts, model=name, **more)
            write_row(place / "rows" / f"{mode}_{name}.json", row)
    failed = ResultRow.of_failure("no network", ScoringOptions(), **facts, model="Three")
    write_row(place / "rows" / "failed.json", failed)
    return place


def changed(table, name: str, **fields) -> None:
    path = table / "rows" / name
    row = read_row(path).model_copy(update=fields)
    path.unlink()
    write_row(path, row)


def test_rows_come_whole_and_with_what_a_table_left_out(board, table, tmp_path, new_place):
    (tmp_path / "about.yaml").write_text("Two: {zero_shot: true, licence: MIT, card: Seen nothing.}\n")
    made, left_out = import_rows(board, table, "Cara", read_about(tmp_path / "about.yaml"))
    assert sorted(made) == [
        f"{TASK}, {mode}: {name}" for mode in ("flattened", "overlapping") for name in ("One", "Two")
    ]
    assert left_out == ["failed.json: no network"]
    with board.database.reading() as session:
        shown = standings(session, Asked(task=TASK, sort="pq"))
        assert [(r.model.name, r.model.zero_shot, r.model.licence) for r in shown.rows] == [
            ("Two", True, "MIT"),
            ("One", False, ""),
        ]
        two, one = shown.rows
        assert {"pq", "mdice", "seconds_per_image"} <= set(two.scores)
        assert "pq" not in one.scores
        assert one.scores["ap50"] == two.scores["ap50"] < 1
        assert (one.scores["parameters"], one.model.num_params) == (7, 7)
        rows = {s.row["model"]: ResultRow.model_validate(s.row) for s in session.scalars(select(Scoring))}
        expected = read_row(table / "rows" / "flattened_One.json")
        assert rows["One"] in (expected, read_row(table / "rows" / "overlapping_One.json"))
        assert [len(image.tp) for image in rows["Two"].images] == [3, 3]
        urls = set(session.scalars(select(Prediction.prediction_url)))
        assert len(urls) == 1
        everything = content(session)
    rebuilt = Database(new_place(), board.database.record)
    with rebuilt.reading() as session:
        assert content(session) == everything
    rebuilt.close()


def test_imported_again_they_take_the_place_of_what_was_there(board, table):
    import_rows(board, table, "Cara")
    with board.database.reading() as session:
        (before,) = set(session.scalars(select(Prediction.prediction_url)))
    entries = len(list(board.database.record.entries()))
    import_rows(board, table, "Cara")
    assert len(list(board.database.record.entries())) == entries, "they are the same"
    for name in ("flattened_Two.json", "overlapping_Two.json"):
        changed(table, name, seconds_per_image=0.25)
    import_rows(board, table, "Cara")
    with board.database.reading() as session:
        (after,) = set(session.scalars(select(Prediction.prediction_url)))
        assert len(session.scalars(select(Model).where(Model.name == "Two")).unique().all()) == 1
    assert board.database.record.get(after).is_file()
    with pytest.raises(InputError, match="isn't in the record"):
        board.database.record.get(before)


def test_models_of_several_seeds_are_told_apart(board, table):
    changed(table, "flattened_One.json", seed=4)
    made, _ = import_rows(board, table, "Cara")
    assert {f"{TASK}, flattened: One, seed 4", f"{TASK}, overlapping: One, seed 3"} < set(made)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"task": "soma"}, "other counts here"),
        ({"data_set": "other"}, r"there is no task 'other, spec/test: cells' here"),
        ({"model": None}, "of which model it is"),
        ({"scoring": ScoringOptions(min_area=5)}, "other settings than a leaderboard's"),
        ({"images": []}, r"isn't of the 2 images of synthetic"),
        ({"predictions": "predictions/none.json"}, "bring the whole folder"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_stays(board, table, fields, told):
    changed_row = read_row(table / "rows" / "overlapping_Two.json").model_copy(update=fields)
    if "images" in fields:
        changed_row = changed_row.model_copy(update={"scores": {"tp": 0, "fp": 0, "fn": 0}})
    (table / "rows" / "overlapping_Two.json").write_text(changed_row.model_dump_json())
    before = sorted(board.database.record.folder.rglob("*"))
    with pytest.raises(InputError, match=told):
        import_rows(board, table, "Cara")
    assert [p for p in sorted(board.database.record.folder.rglob("*.*")) if p not in before] == []
    with board.database.reading() as session:
        assert not session.scalars(select(Scoring)).all()


@pytest.mark.usefixtures("in_this_process")
def test_what_was_submitted_stays(board, ann, table, results):
    submit(board, ann, TASK, "results", results, ModelFacts("One"))
    with pytest.raises(InputError, match="One was submitted for synthetic"):
        import_rows(board, table, "Ann")


def test_places_without_rows_and_words_of_nobody_are_refused(board, table, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no row with scores lies there"):
        import_rows(board, tmp_path / "none", "Cara")
    (tmp_path / "about.yaml").write_text("Nobody: {licence: MIT}\n")
    with pytest.raises(InputError, match="no row is of a model 'Nobody'"):
        import_rows(board, table, "Cara", read_about(tmp_path / "about.yaml"))
    (tmp_path / "about.yaml").write_text("Two: {weights: x}\n")
    with pytest.raises(InputError, match=r"about\.yaml: Two\.weights"):
        read_about(tmp_path / "about.yaml")
