"""The site without a browser: pages, forms and API, as visitor, developer, maintainer and intruder."""

from __future__ import annotations

import html
import re
import sys
from urllib.parse import quote

import pytest

from glioma_hf.leaderboard import scoring
from glioma_hf.leaderboard.accounts import set_role
from tests.leaderboard.made import TASK

SECRET = "correct horse battery"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def visitor(site):
    return site()


def enter(site, name: str):
    """A browser of somebody who has just registered, and the word of their forms."""
    client = site()
    assert client.post("/register", data={"name": name, "password": SECRET}).status_code == 200
    return client, word_of(client)


def word_of(client) -> str:
    return re.search(r'name="word" value="(\w+)"', client.get("/take-part").text)[1]


def send(client, word, path, model="Mine", **fields):
    given = {"word": word, "task": fields.pop("task", TASK), "kind": "results", "model": model} | fields
    return client.post("/take-part/submit", data=given, files={"file": (path.name, path.read_bytes())})


def sentence(answer) -> str:
    assert "Traceback" not in answer.text
    return html.unescape(re.search(r'class="bad"[^>]*>([^<]*)<', answer.text)[1])


@pytest.mark.usefixtures("in_this_process")
def test_a_developer_takes_part(site, board, results):
    client, word = enter(site, "Ann")
    assert send(client, word, results).status_code == 200
    assert "waiting" in client.get("/take-part/submissions").text
    sent = board.queue.waiting()[0]
    scoring.score(board, sent)
    page = client.get("/take-part/submissions").text
    assert "being scored" not in page
    assert "Publish Mine" in page
    assert "only you see this" in client.get(f"/?task={TASK}").text
    stranger = site()
    assert "Mine" not in stranger.get(f"/?task={TASK}").text
    model = re.search(r'href="/models/(\w+)"', page)[1]
    assert stranger.get(f"/models/{model}").status_code == 404
    client.post("/take-part/publish", data={"word": word, "model": model, "published": "yes"})
    table = stranger.get(f"/?task={TASK}").text
    assert "Mine" in table
    assert re.search(r"<small>\d\.\d{3} to \d\.\d{3}</small>", table), table
    assert "synthetic, spec/test: cells" in stranger.get(f"/models/{model}").text
    assert stranger.get("/leaderboard.csv", params={"task": TASK}).text.splitlines()[1].startswith("1,Mine,Ann,here")
    client.post("/take-part/withdraw", data={"word": word, "submission": sent})
    assert "Mine" not in stranger.get(f"/?task={TASK}").text


def test_every_page_answers_and_the_papers_figures_are_marked(visitor):
    assert (
        visitor.get("/").text.count("the paper&#39;s figure") + visitor.get("/").text.count("the paper's figure") >= 6
    )
    for address in ("/", "/tasks", "/cells", "/take-part", "/log-in", "/register", "/api/tasks", "/api/leaderboard"):
        answer = visitor.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert visitor.get("/nowhere").status_code == 404
    image = re.search(r'src="(/images/\w+\.jpg)', visitor.get("/cells?number=1").text)[1]
    assert visitor.get(image).content[:2] == b"\xff\xd8"
    assert visitor.get(f"{image}?outlines=all").content[:2] == b"\xff\xd8"


def test_references_of_a_hidden_data_set_leave_it_in_no_form(visitor, board, folder):
    from sqlalchemy import select

    from glioma_hf.leaderboard.tables import DataSet

    with board.database.writing() as session:
        session.scalars(select(DataSet).filter_by(name="synthetic")).one().hidden = True
    image = re.search(r'src="(/images/\w+\.jpg)', visitor.get("/cells?number=1").text)[1]
    answer = visitor.get(f"{image}?outlines=all")
    assert answer.status_code == 400
    assert "hidden" in sentence(answer)


@pytest.mark.usefixtures("in_this_process")
def test_html_is_shown_and_not_run(site, board, results):
    client, word = enter(site, "Ann")
    fields = {name: HOSTILE for name in ("backbone", "learning_method", "licence", "card")}
    assert send(client, word, results, model=HOSTILE, **fields).status_code == 200
    scoring.score(board, board.queue.waiting()[0])
    page = client.get("/take-part").text
    model = re.search(r'href="/models/(\w+)"', page)[1]
    client.post("/take-part/publish", data={"word": word, "model": model, "published": "yes"})
    for address in ("/take-part", f"/models/{model}", f"/?task={TASK}", f"/?licence={HOSTILE}", f"/?sort={HOSTILE}"):
        text = client.get(address).text
        assert HOSTILE not in text, address
        assert "&lt;script&gt;" in text, address
    assert "begins with https" in sentence(send(client, word, results, model="Other", paper_url="javascript:alert(1)"))


def test_a_password_is_changed_on_the_page(site):
    (client, word), other = enter(site, "Ann"), site()
    other.post("/log-in", data={"name": "Ann", "password": SECRET})
    given = {"word": word, "old": "wrong", "new": "staple correct horse"}
    assert sentence(client.post("/take-part/password", data=given)) == "The old password is wrong."
    assert client.post("/take-part/password", data=given | {"word": "forged", "old": SECRET}).status_code == 400
    assert "Your submissions" in client.post("/take-part/password", data=given | {"old": SECRET}).text
    assert "Your submissions" not in other.get("/take-part").text


def test_cookies_are_for_the_site_alone(site):
    client = site()
    client.post("/register", data={"name": "Ann", "password": SECRET})
    for base, secure in (("http://testserver", False), ("https://testserver", True)):
        client.base_url = base
        answer = client.post("/log-in", data={"name": "Ann", "password": SECRET}, follow_redirects=False)
        flags = {flag.strip().lower() for flag in answer.headers["set-cookie"].split(";")}
        assert {"httponly", "samesite=lax", "path=/"} <= flags
        assert ("secure" in flags) is secure


SQL = ["' OR '1'='1", "'; DROP TABLE model; --", '" UNION SELECT pass_hash FROM developer --', "\x00", "%27"]


def test_sql_in_any_field_is_text(site):
    client = site()
    for text in SQL:
        for name in ("task", "mode", "sort", "trained", "licence", "most", "page"):
            assert client.get("/", params={name: text}).status_code in (200, 400, 404), name
            assert client.get("/leaderboard.csv", params={name: text}).status_code in (200, 400, 404), name
        for name in ("task", "cell_type", "modality", "number"):
            assert client.get("/cells", params={name: text}).status_code in (200, 400), name
        assert client.get(f"/models/{quote(text)}").status_code in (400, 404)
        assert client.post("/log-in", data={"name": text, "password": text}).status_code in (400, 429)
        assert client.post("/register", data={"name": text, "password": SECRET}).status_code == 400
    assert client.get("/").text.count("<tr") > 5, "all is still there"


@pytest.mark.usefixtures("in_this_process")
def test_others_and_forged_sessions_are_kept_out(site, board, results):
    client, word = enter(site, "Ann")
    send(client, word, results)
    sent = board.queue.waiting()[0]
    other, others_word = enter(site, "Bob")
    answer = other.post("/take-part/withdraw", data={"word": others_word, "submission": sent})
    assert (answer.status_code, sentence(answer)) == (404, "There is no such submission of yours.")
    answer = other.post("/take-part/withdraw", data={"word": word, "submission": sent})
    assert "that form is of another log-in" in sentence(answer).lower()
    forged = site()
    forged.cookies.set("leaderboard", "x" * 43)
    assert forged.get("/take-part").text.count("Your submissions") == 0
    assert (
        "log in to do that"
        in sentence(forged.post("/take-part/withdraw", data={"word": word, "submission": sent})).lower()
    )
    answer = other.post("/maintain/add", data={"word": others_word, "place": "/etc", "name": "etc"})
    assert sentence(answer) == "Data sets are added by maintainers."
    assert "waiting" in client.get("/take-part/submissions").text


def test_forms_of_other_sites_are_refused(site, board):
    client, word = enter(site, "Ann")
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        answer = client.post("/log-out", data={"word": word}, headers=headers)
        assert (answer.status_code, answer.text) == (403, "That form isn't one of this site.")
    assert "Log out" in client.get("/").text
    client.post("/log-out", data={"word": "0" * 64})
    assert "Log out" in client.get("/").text
    client.post("/log-out", data={"word": word})
    assert "Log out" not in client.get("/").text


def test_guessing_is_stopped(site):
    client = site()
    codes = [client.post("/log-in", data={"name": "Ann", "password": f"guess {n}"}).status_code for n in range(5)]
    assert codes == [400] * 5
    assert "too many tries" in sentence(client.post("/log-in", data={"name": "Ann", "password": "x"})).lower()
    assert client.post("/api/log-in", json={"name": "Ann", "password": "x"}).status_code == 429


def test_more_than_a_form_holds_is_refused(site, board):
    client = site()
    assert client.post("/log-in", data={"name": "x" * 2**21, "password": "x"}).status_code == 413


@pytest.mark.usefixtures("in_this_process")
def test_programs_submit_by_the_api(site, board, results):
    enter(site, "Ann")
    client = site()
    refused = client.get("/api/submissions")
    assert (refused.status_code, list(refused.json())) == (400, ["error"])
    word = client.post("/api/log-in", json={"name": "Ann", "password": SECRET}).json()["word"]
    client.headers["authorization"] = f"Bearer {word}"
    files = {"file": (results.name, results.read_bytes())}
    told = client.post("/api/submissions", data={"task": TASK, "model": "By API"}, files=files).json()
    assert (told["state"], told["model_name"], told["task"]) == ("received", "By API", TASK)
    scoring.score(board, told["id"])
    assert client.get("/api/submissions").json()[0]["state"] == "scored"
    assert client.post(f"/api/models/{told['model']}/publish").json() == {"published": True}
    model = site().get(f"/api/models/{told['model']}").json()
    assert {row["scoring"]["mode"] for row in model["results"]} == {"overlapping", "flattened"}
    table = site().get("/api/leaderboard", params={"task": TASK}).json()
    assert table["rows"][0]["name"] == "By API"
    assert client.delete(f"/api/submissions/{told['id']}").json() == {"state": "withdrawn"}


def test_a_maintainer_adds_a_data_set(site, board, folder):
    client, word = enter(site, "Ann")
    set_role(board, "Ann", "maintainer")
    given = {"word": word, "place": str(folder), "name": "more", "splits": "gen/test", "hidden": "yes"}
    assert client.post("/maintain/add", data=given).status_code == 200
    assert "more, gen/test: cells" in client.get("/tasks").text
    again = client.post("/maintain/add", data=given)
    assert sentence(again) == "The leaderboard has a data set more already; give another name."
    assert "site_pages" in sys.modules


@pytest.mark.usefixtures("in_this_process")
def test_models_are_compared_on_one_image(site, board, results):
    client, word = enter(site, "Ann")
    assert "no predictions to look at" in site().get("/compare").text
    send(client, word, results, model="Mine")
    scoring.score(board, board.queue.waiting()[0])
    page = client.get("/compare").text
    assert page.count("<option") >= 3
    aps = [float(ap) for ap in re.findall(r"\(AP50 ([\d.]+)\)", page)]
    assert aps == sorted(aps), "the hardest first"
    picture = re.search(r'src="(/compare/[^"]+\.jpg)"', page)[1]
    assert client.get(picture).content[:2] == b"\xff\xd8"
    assert re.search(r"AP50 \d\.\d+, \d+ found, 0 where nothing is, \d+ missed", page)
    assert site().get(picture).status_code == 404, "it isn't published"
    assert "Mine" not in site().get("/compare").text


@pytest.mark.usefixtures("in_this_process")
def test_scores_are_told_as_the_hub_has_them(site, board, results):
    import yaml
    from huggingface_hub import parse_eval_result_entries
    from sqlalchemy import select

    from glioma_hf.leaderboard.tables import DataSet

    client, word = enter(site, "Ann")
    send(client, word, results)
    scoring.score(board, board.queue.waiting()[0])
    model = re.search(r'href="/models/(\w+)"', client.get("/take-part").text)[1]
    address = f"/api/models/{model}/eval_results.yaml"
    assert client.get(address).status_code == 404
    client.post("/take-part/publish", data={"word": word, "model": model, "published": "yes"})
    assert yaml.safe_load(client.get(address).text) == [], "the data set isn't on the Hub"
    with board.database.writing() as session:
        session.scalars(select(DataSet).filter_by(name="synthetic")).one().place = "me/cells"
    entries = parse_eval_result_entries(yaml.safe_load(client.get(address).text))
    by_task = {entry.task_id: entry for entry in entries}
    table = client.get("/api/leaderboard", params={"task": TASK}).json()
    ap = by_task["spec_test_cells_overlapping_ap50"]
    assert (ap.dataset_id, ap.value) == ("me/cells", round(table["rows"][0]["scores"]["ap50"], 6))
    assert ap.source_url.endswith(f"/models/{model}")
    tasks = {task["id"] for task in yaml.safe_load(client.get("/api/data_sets/synthetic/eval.yaml").text)["tasks"]}
    assert set(by_task) <= tasks
