from __future__ import annotations

import zipfile
from dataclasses import replace

import pytest
from sqlalchemy import select

from glioma_hf import InputError
from glioma_hf.benchmark.results import ResultRow
from glioma_hf.benchmark.scoring import evaluate_files
from glioma_hf.benchmark.scoring_files import read_references
from glioma_hf.leaderboard import bounded, scoring
from glioma_hf.leaderboard.bounded import Bounds
from glioma_hf.leaderboard.catalogue import add_data_set, begin
from glioma_hf.leaderboard.database import Database, content
from glioma_hf.leaderboard.submissions import ModelFacts, publish, submit, withdraw
from glioma_hf.leaderboard.tables import Model, Performance, Prediction, Scoring, Submission, Task
from tests.leaderboard.made import TASK
from tests.waiting import wait_for


def row(board, submission) -> Submission:
    with board.database.reading() as session:
        return session.get(Submission, submission)


@pytest.mark.usefixtures("in_this_process")
def test_a_submission_is_scored_as_evaluate_scores_it_and_is_kept_whole(board, ann, folder, results, new_place):
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Copy"))
    assert row(board, sent).state == "received"
    assert board.queue.waiting() == [sent]
    assert scoring.score(board, sent)
    done = row(board, sent)
    assert (done.state, done.attempts) == ("scored", 1)
    expected = evaluate_files(folder, results, split="spec/test").scores.to_dict()
    with board.database.reading() as session:
        kept = {s.mode: ResultRow.model_validate(s.row) for s in session.scalars(select(Scoring))}
        assert set(kept) == {"overlapping", "flattened"}
        assert {name: kept["overlapping"].scores[name] for name in expected} == expected
        assert [len(image.tp) for image in kept["overlapping"].images] == [3, 3]
        shown = {
            p.metric_name: p.score
            for p in session.scalars(select(Performance).filter_by(mode="overlapping", model_id=done.model_id))
        }
        assert shown["ap50"] == expected["ap50"] < 1
        assert shown["mhd"] >= 0
        assert len(session.scalars(select(Prediction)).all()) == 2
        everything = content(session)
    assert not scoring.score(board, sent), "nothing is scored twice"
    again = Database(new_place(), board.database.record)
    with again.reading() as session:
        assert content(session) == everything
    again.close()


@pytest.mark.usefixtures("in_this_process")
def test_publish_and_withdraw_are_the_developers_own(board, ann, bob, results):
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Copy"))
    scoring.score(board, sent)
    model = row(board, sent).model_id
    for act in (lambda: withdraw(board, bob, sent), lambda: publish(board, bob, model)):
        with pytest.raises(InputError, match="there is no such"):
            act()
    publish(board, ann, model)
    with board.database.reading() as session:
        assert session.get(Model, model).published
    payload = row(board, sent).payload
    withdraw(board, ann, sent)
    assert row(board, sent).state == "withdrawn"
    with board.database.reading() as session:
        assert not session.scalars(select(Scoring)).all()
        assert not session.scalars(select(Performance).filter_by(model_id=model)).all()
    with pytest.raises(InputError, match="isn't in the record"):
        board.database.record.get(payload)
    submit(board, ann, TASK, "results", results, ModelFacts("Copy"))  # there is room again


@pytest.mark.usefixtures("in_this_process")
def test_a_model_with_nothing_to_show_is_its_developers_alone(board, ann, results):
    """What is sent under its name later isn't public before its developer has seen the scores."""
    other = "synthetic, gen/test: cells"
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Copy"))
    scoring.score(board, sent)
    model = row(board, sent).model_id
    publish(board, ann, model)
    with board.database.writing() as session:
        of_gen = session.scalars(select(Task).filter_by(name=other)).one()
        session.add(Performance(model_id=model, task_id=of_gen.id, mode="overlapping", metric_name="ap50", score=0.5))
    withdraw(board, ann, sent)
    with board.database.writing() as session:
        assert session.get_one(Model, model).published, "its scores on another task stay"
        session.delete(session.get_one(Performance, (model, of_gen.id, "overlapping", "ap50")))
    withdraw(board, ann, submit(board, ann, TASK, "results", results, ModelFacts("Copy")))
    again = submit(board, ann, TASK, "results", results, ModelFacts("Copy"))
    scoring.score(board, again)
    with board.database.reading() as session:
        assert not session.get_one(Model, model).published


@pytest.mark.usefixtures("in_this_process")
def test_a_withdrawn_submission_is_not_scored(board, ann, results):
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Copy"))
    withdraw(board, ann, sent)
    assert not scoring.score(board, sent)
    assert row(board, sent).state == "withdrawn"


@pytest.mark.usefixtures("in_this_process")
def test_limits_are_told(board, ann, results, tmp_path):
    board.limits = replace(board.limits, per_day=2)
    submit(board, ann, TASK, "results", results, ModelFacts("One"))
    with pytest.raises(InputError, match="One has a submission for this task already"):
        submit(board, ann, TASK, "results", results, ModelFacts("One"))
    submit(board, ann, TASK, "results", results, ModelFacts("Two"))
    with pytest.raises(InputError, match="2 submissions a day"):
        submit(board, ann, TASK, "results", results, ModelFacts("Three"))
    board.limits = replace(board.limits, per_day=9, bytes=100)
    with pytest.raises(InputError, match=r"results\.json: 0 MB, more than"):
        submit(board, ann, TASK, "results", results, ModelFacts("Three"))


def test_checks_at_once_are_bounded_and_the_line_for_them_has_an_end(board, ann, results, monkeypatch):
    """Each may take gigabytes, and who waits keeps a thread that answers pages."""
    import threading

    monkeypatch.setattr("glioma_hf.leaderboard.board.PATIENCE", 0.05)
    going, ended = threading.Semaphore(0), threading.Event()

    def run(*_):
        going.release()
        assert ended.wait(30)
        raise InputError("it ended")

    def one(name, told):
        with pytest.raises(InputError) as caught:
            submit(board, ann, TASK, "results", results, ModelFacts(name))
        told.append(str(caught.value))

    monkeypatch.setattr(bounded, "run", run)
    first: list[str] = []
    threads = [threading.Thread(target=one, args=(f"M{i}", first)) for i in range(board.limits.checks)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert going.acquire(timeout=30)
    told: list[str] = []
    one("Late", told)
    monkeypatch.setattr(board, "_line", threading.Semaphore(0))
    one("Later", told)
    assert told == ["many submissions are being checked just now; send this one again in a minute"] * 2
    ended.set()
    for thread in threads:
        thread.join(30)
    assert first == ["it ended"] * board.limits.checks


def test_a_job_over_its_time_or_memory_is_ended_and_told_and_the_worker_goes_on(board, ann, results, monkeypatch):
    monkeypatch.setattr(bounded, "TICK", 0.001)  # so that it is looked at before it ends, however fast the machine is
    first, second, third = (
        submit(board, ann, TASK, "results", results, ModelFacts(name)) for name in ("One", "Two", "Three")
    )
    limits = board.limits
    board.limits = replace(limits, score=Bounds(0, 3000))
    scoring.score(board, first)
    assert (row(board, first).state, row(board, first).told) == (
        "failed",
        "it took longer than 0 s on this server; send less in one file",
    )
    board.limits = replace(limits, score=Bounds(60, 10))
    scoring.score(board, second)
    assert row(board, second).told == "it needed more than 10 MB of memory; send less in one file"
    board.limits = limits
    assert scoring.score(board, third)
    assert row(board, third).state == "scored"


@pytest.mark.usefixtures("in_this_process")
def test_what_a_dead_worker_held_is_taken_up_again_once(board, ann, results, monkeypatch):
    board.limits = replace(board.limits, lease=0.0)
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Copy"))
    assert board.queue._huey.dequeue() is not None  # taken by a worker, which dies
    for attempt in (1, 2):
        assert scoring._take(board, sent) is not None
        assert row(board, sent).attempts == attempt
        assert scoring.recover(board) == ([sent] if attempt == 1 else [])
    assert row(board, sent).state == "failed"
    assert "the worker that scored it died" in row(board, sent).told


@pytest.mark.usefixtures("in_this_process")
def test_a_worker_whose_lease_was_taken_over_writes_nothing(board, ann, results, monkeypatch):
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Copy"))
    run = scoring._run

    def taken_over(board, taken, folder):
        found = run(board, taken, folder)
        board.limits = replace(board.limits, lease=0.0)
        with board.database.writing() as session:
            session.get(scoring.Lease, sent).until = scoring.now()
        scoring.recover(board)
        assert scoring._take(board, sent) is not None
        return found

    monkeypatch.setattr(scoring, "_run", taken_over)
    assert not scoring.score(board, sent)
    assert row(board, sent).state == "scoring"
    with board.database.reading() as session:
        assert not session.scalars(select(Scoring)).all()


def test_workers_take_from_the_queue(board, ann, results):
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Copy"))
    worker = scoring.Worker(board)
    worker.start()
    try:
        wait_for(lambda: row(board, sent).state == "scored")
    finally:
        worker.stop()


@pytest.mark.usefixtures("in_this_process")
def test_label_maps_are_scored(board, ann, folder, tmp_path):
    import tifffile

    with zipfile.ZipFile(tmp_path / "maps.zip", "w") as packed:
        for key, side in read_references(folder, "spec/test").instances.items():
            tifffile.imwrite(tmp_path / "map.tif", side.to_label_map().astype("uint16"))
            packed.write(
                tmp_path / "map.tif",
                f"../{'x' * key}/test_00{key}_label.tif" if key == 9 else f"test_00{key}_label.tif",
            )
    sent = submit(board, ann, TASK, "label_maps", tmp_path / "maps.zip", ModelFacts("Maps"))
    assert scoring.score(board, sent)
    assert row(board, sent).state == "scored"


def test_the_papers_tables_stand_in_it_from_the_first_day(board):
    with board.database.reading() as session:
        models = session.scalars(select(Model).filter_by(source="paper")).unique().all()
        assert len(models) == 8
        scores = session.scalars(
            select(Performance.score)
            .join(Model)
            .where(Model.name == "Cellpose, fine-tuned", Performance.metric_name == "ap50")
        ).all()
    assert 0.7178 in scores
    begin(board)  # once more changes nothing
    with board.database.reading() as session:
        assert len(session.scalars(select(Model)).unique().all()) == 8


def test_data_sets_are_added_once_and_bad_ones_not_at_all(board, folder, tmp_path):
    with pytest.raises(InputError, match="has a data set synthetic already"):
        add_data_set(board, folder, "synthetic")
    with pytest.raises(InputError, match="no prepared data set"):
        add_data_set(board, tmp_path, "other")
    with pytest.raises(InputError, match="no night images; its splits are"):
        add_data_set(board, folder, "other", splits=["night"])
    with pytest.raises(InputError, match="no name for a data set"):
        add_data_set(board, folder, "../other")
