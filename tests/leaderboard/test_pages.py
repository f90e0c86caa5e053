"""The pages of a task and of a model: pictures side by side, failures, files, and who may see them."""

from __future__ import annotations

import html
import re

import pytest
from sqlalchemy import select

from glioma_hf.leaderboard import scoring
from glioma_hf.leaderboard.submissions import ModelFacts, publish, submit
from glioma_hf.leaderboard.tables import DataSet, Submission
from tests.leaderboard.made import TASK

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def scored(board, ann, results):
    """A submission that is scored and not yet published."""
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Mine", code_url="https://example.org/code"))
    assert scoring.score(board, sent)
    with board.database.reading() as session:
        return session.get_one(Submission, sent)


def pictures(page: str) -> list[str]:
    return [html.unescape(address) for address in re.findall(r'<img[^>]* src="([^"]+)"', page)]


def test_models_stand_side_by_side_on_a_tasks_images(site, board, ann, scored):
    visitor = site()
    page = visitor.get(f"/tasks/{scored.task_id}").text
    assert "no predictions to look at yet" in page
    publish(board, ann, scored.model_id)
    page = visitor.get(f"/tasks/{scored.task_id}").text
    aps = [float(ap) for ap in re.findall(r"<strong>AP50 ([\d.]+)</strong>", page)]
    assert len(aps) == 2
    assert aps == sorted(aps), "the hardest first"
    shown = pictures(page)
    assert len(shown) == 4  # reference and model on both
    for address in shown:
        assert visitor.get(address).content[:2] == b"\xff\xd8", address
    assert len(pictures(visitor.get(f"/tasks/{scored.task_id}?number=1&model={scored.model_id}").text)) == 2
    assert f'href="/tasks/{scored.task_id}"' in visitor.get("/tasks").text
    assert visitor.get("/tasks/none").status_code == 404
    assert visitor.get(f"/tasks/{scored.task_id}?number=1000").status_code == 400


def test_an_image_with_nothing_to_find_is_no_failure(site, board, scored):
    """No cell, and none found: an AP of 0 would make it the hardest."""
    import comparing

    from glioma_hf.leaderboard.tables import Task
    from glioma_hf.metrics.matching import Counts

    with board.database.reading() as session:
        task = session.get_one(Task, scored.task_id)
        counts = {"one": {"test_001.tif": Counts(0, 0, 0), "test_002.tif": Counts(3, 1, 0)}}
        images = comparing.hardest_first(session, task, counts)
    assert [(image["name"], image["ap"]) for image in images] == [("test_002.tif", 0.75), ("test_001.tif", None)]
    assert site  # which brings the pages
    template = "{{ counts | ap | score }}"
    import site_pages

    shown = site_pages.Site(board, None).templates.env.from_string(template)
    assert (shown.render(counts=Counts(0, 0, 0)), shown.render(counts=Counts(0, 1, 0))) == ("-", "0.000")


def test_a_models_page_shows_where_it_fails_and_gives_its_files(site, board, ann, scored):
    visitor = site()
    publish(board, ann, scored.model_id)
    page = visitor.get(f"/models/{scored.model_id}").text
    assert f"Where it fails: {TASK}" in page
    shown = pictures(page)
    missed = [int(number) for number in re.findall(r"(\d+) missed, of which", page)]
    assert missed
    assert sum("/missed/" in address for address in shown) == sum(min(number, 2) for number in missed)
    for address in shown:
        assert visitor.get(address).content[:2] == b"\xff\xd8", address
    assert "Its predictions alone were sent" in page
    assert 'href="https://example.org/code"' in page
    file = re.search(r'href="(/models/[^"]+\.parquet)"', page)[1]
    answer = visitor.get(file)
    assert answer.content == board.database.record.get(scored.payload).read_bytes()
    assert answer.headers["content-disposition"] == 'attachment; filename="Mine_predictions.parquet"'
    publish(board, ann, scored.model_id, published=False)
    for address in (file, f"/models/{scored.model_id}", *shown):
        assert visitor.get(address).status_code == 404, address


def test_missed_cells_of_hidden_references_are_shown_nowhere(site, board, ann, scored):
    visitor = site()
    publish(board, ann, scored.model_id)
    (address, *_) = (a for a in pictures(visitor.get(f"/models/{scored.model_id}").text) if "/missed/" in a)
    with board.database.writing() as session:
        session.scalars(select(DataSet).filter_by(name="synthetic")).one().hidden = True
    assert visitor.get(address).status_code == 400
    assert not any("/missed/" in a for a in pictures(visitor.get(f"/models/{scored.model_id}").text))
    assert not any("outlines" in a for a in pictures(visitor.get(f"/tasks/{scored.task_id}").text))


def test_a_model_that_was_sent_is_given_to_those_who_may_see_it(site, board, ann, scored):
    sent = submit(board, ann, TASK, "model", None, ModelFacts("Named"), "deepsea")
    assert scoring.score(board, sent)
    with board.database.reading() as session:
        model = session.get_one(Submission, sent).model_id
    publish(board, ann, model)
    page = site().get(f"/models/{model}").text
    assert "glioma-hf predict IMAGE --model deepsea:" in page
    assert site().get(f"/models/{model}/files/{sent}.zip").status_code == 404, "nothing was packed"
    assert site().get(f"/models/{model}/files/{scored.id}.zip").status_code == 404, "of another model"
