from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import select

from glioma_hf import InputError
from glioma_hf.leaderboard import standings as module
from glioma_hf.leaderboard.standings import Asked, standings, to_csv
from glioma_hf.leaderboard.tables import Developer, Model, Performance, Scoring, Task
from tests.leaderboard.made import TASK

PAPERS = "glioma_c6, spec/test: cells"


def add_model(board, task: str, name: str, tp: list[int], developer: str, **fields) -> str:
    """A published model with counts of images that hold ten cells each."""
    with board.database.writing() as session:
        of_task = session.scalars(select(Task).filter_by(name=task)).unique().one()
        model = Model(developer_id=developer, name=name, **{"published": True} | fields)
        session.add(model)
        session.flush()
        images = [
            {"file_name": f"{i}", "tp": [n, n, 0], "fp": [10 - n] * 3, "fn": [10 - n] * 3} for i, n in enumerate(tp)
        ]
        key = {"model_id": model.id, "task_id": of_task.id, "mode": "overlapping"}
        ap = sum(tp) / sum(20 - n for n in tp)
        session.add(Scoring(**key, low=ap - 0.1, high=ap + 0.1, row={"images": images}))
        session.add(Performance(**key, metric_name="ap50", score=ap))
        session.add(Performance(**key, metric_name="mhd", score=1 / (ap + 0.1)))
    return model.id


def shown(board, **asked) -> list[tuple]:
    with board.database.reading() as session:
        return [(r.rank, r.tied, r.model.name) for r in standings(session, Asked(**asked)).rows]


def test_models_that_the_data_cannot_tell_apart_tie(board, ann):
    add_model(board, TASK, "Best", [9, 9, 9, 8, 9, 9], ann)
    add_model(board, TASK, "As good", [9, 8, 9, 9, 9, 8], ann)
    add_model(board, TASK, "Worse", [4, 5, 4, 5, 4, 5], ann)
    assert shown(board, task=TASK) == [(1, True, "Best"), (1, True, "As good"), (3, False, "Worse")]
    assert shown(board, task=TASK, sort="mhd") == [(1, False, "Best"), (2, False, "As good"), (3, False, "Worse")]


def test_a_page_shows_the_ranks_of_the_whole_table(board, ann, monkeypatch):
    """A group of models that tie goes on from page to page; the page and the CSV say the same."""
    monkeypatch.setattr(module, "PAGE", 2)
    for number in range(5):
        add_model(board, TASK, f"Good {number}", [9, 9, 9, 8, 9, 9 - number % 2], ann)
    add_model(board, TASK, "Worse", [4, 5, 4, 5, 4, 5], ann)
    pages = [shown(board, task=TASK, page=page) for page in (1, 2, 3)]
    assert [row[:2] for page in pages for row in page] == [(1, True)] * 5 + [(6, False)]
    assert shown(board, task=TASK, page=999) == pages[2], "behind the last page is the last"
    with board.database.reading() as session:
        lines = csv.DictReader(io.StringIO(to_csv(standings(session, Asked(task=TASK, page=2), whole=True))))
    assert [int(line["rank"]) for line in lines] == [1] * 5 + [6]


def test_equal_scores_tie_and_who_lacks_the_score_has_no_rank(board, ann):
    for name, seconds in (("A", 2.0), ("B", 1.0), ("C", 1.0), ("D", None), ("E", None)):
        model = add_model(board, TASK, name, [9, 9], ann)
        if seconds is not None:
            with board.database.writing() as session:
                key = {"model_id": model, "task_id": session.scalars(select(Task.id).filter_by(name=TASK)).one()}
                session.add(Performance(**key, mode="overlapping", metric_name="seconds_per_image", score=seconds))
    asked = {"task": TASK, "sort": "seconds_per_image"}
    expected = [(1, True, "B"), (1, True, "C"), (3, False, "A"), (None, False, "D"), (None, False, "E")]
    assert shown(board, **asked) == expected
    with board.database.reading() as session:
        text = to_csv(standings(session, Asked(**asked), whole=True))
    assert [line["rank"] for line in csv.DictReader(io.StringIO(text))] == ["1", "1", "3", "", ""]


def test_the_papers_rows_are_marked_and_in_their_order(board):
    with board.database.reading() as session:
        table = standings(session, Asked(task=PAPERS))
    assert [row.model.name for row in table.rows][:2] == ["Cellpose, fine-tuned", "MediarFormer, fine-tuned"]
    assert all(row.is_papers and row.interval is None and not row.tied for row in table.rows)
    assert [c.name for c in table.columns] == ["ap50", "ap75", "ap90", "f1", "precision", "recall"]
    assert table.rows[0].bars["ap50"] == 1
    assert len(shown(board, task=PAPERS, trained="zero_shot")) == 2
    assert len(shown(board, task=PAPERS, mode="flattened")) == 6


def test_filters_leave_what_they_say_and_what_is_not_published_its_developer_alone_sees(board, ann, bob):
    add_model(board, TASK, "Small", [9, 9], ann, num_params=10, licence="MIT")
    add_model(board, TASK, "Large", [9, 8], ann, num_params=1000)
    add_model(board, TASK, "Mine", [8, 8], bob, published=False)
    assert [name for *_, name in shown(board, task=TASK)] == ["Small", "Large"]
    assert [name for *_, name in shown(board, task=TASK, viewer=bob)] == ["Small", "Large", "Mine"]
    assert [name for *_, name in shown(board, task=TASK, viewer=ann)] == ["Small", "Large"]
    assert [name for *_, name in shown(board, task=TASK, licence="MIT")] == ["Small"]
    assert [name for *_, name in shown(board, task=TASK, most_parameters=100)] == ["Small"]


@pytest.mark.parametrize("field", ["mode", "sort", "trained", "task"])
def test_sql_in_a_field_is_a_word_that_nobody_knows(board, field):
    with pytest.raises(InputError), board.database.reading() as session:
        standings(session, Asked(**{"task": TASK, field: "ap50'; DROP TABLE model; --"}))


def test_a_csv_holds_all_and_no_formulas(board, ann):
    add_model(board, TASK, '=HYPERLINK("http://bad")', [9, 9], ann)
    with board.database.reading() as session:
        text = to_csv(standings(session, Asked(task=TASK), whole=True))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["model"] == '\'=HYPERLINK("http://bad")'
    assert float(row["ap50"]) == pytest.approx(18 / 22)
    assert float(row["ap50_low"]) < float(row["ap50"])


@pytest.mark.parametrize("name", [" =1+1", "\uff1d1+1", "@sum", "-1", "+1"])
def test_formulas_begin_behind_blanks_and_in_wide_signs_too(board, ann, name):
    add_model(board, TASK, name, [9, 9], ann)
    with board.database.reading() as session:
        (row,) = csv.DictReader(io.StringIO(to_csv(standings(session, Asked(task=TASK), whole=True))))
    assert row["model"] == f"'{name}"


def test_an_empty_leaderboard_is_empty(database):
    with database.reading() as session:
        assert standings(session, Asked()).rows == ()
        assert not session.query(Developer).count()
