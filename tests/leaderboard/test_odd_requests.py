"""Addresses, fields and headers that nobody means well with: each is answered in a sentence."""

from __future__ import annotations

import json
import re

import pytest

from glioma_hf import InputError
from glioma_hf.leaderboard.bounded import without_places
from glioma_hf.leaderboard.submissions import ModelFacts
from tests.leaderboard.made import TASK
from tests.leaderboard.test_site import enter, send, sentence


@pytest.mark.parametrize("address", ["/", "/leaderboard.csv", "/api/leaderboard"])
@pytest.mark.parametrize("field", ["page", "most"])
def test_signs_that_only_look_like_numbers_are_none(site, address, field):
    """A raised two is a digit to Python, and no number."""
    answer = site().get(address, params={field: "²"})
    assert answer.status_code == (200 if (address, field) == ("/leaderboard.csv", "page") else 400)


@pytest.mark.usefixtures("in_this_process")
def test_fields_of_the_form_that_are_no_numbers_and_no_addresses(site, results):
    client, word = enter(site, "Ann")
    assert sentence(send(client, word, results, parameters="²")).endswith("is a whole number.")
    for address in ("http://[", "https://", "http:x", "https://a b", "https://a\u202eb"):
        told = sentence(send(client, word, results, code_url=address))
        assert told == "The model's code address begins with https:// and names a site."


@pytest.mark.parametrize("name", ["\u3164", "\u2800\u2800", "\u0301", " "])
def test_a_models_name_can_be_seen(name):
    with pytest.raises(InputError, match="a model has a name"):
        ModelFacts(name)


def test_marks_do_not_pile_up_over_the_lines_beside_them():
    assert ModelFacts("Ngu\u0303y\u00ea\u0303n \u0e17\u0e35\u0e48")
    for field in ("name", "licence", "card"):
        with pytest.raises(InputError, match="too many marks on one letter"):
            ModelFacts(**{"name": "One", field: "a" + "\u0301" * 30})


def test_a_broken_origin_is_another_site(site):
    answer = site().post("/log-in", data={"name": "Ann", "password": "x"}, headers={"origin": "http://["})
    assert answer.status_code == 403


def test_half_signs_are_no_text(site):
    for name, password in (("Ann", "\ud800" * 12), ("\ud800", "correct horse")):
        body = json.dumps({"name": name, "password": password})
        answer = site().post("/api/log-in", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, "send plain text" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("/cells?number=x", "Number is a whole number."),
        ("/cells?number=0", "Number is 1 or more."),
        ("/cells?number=999", "Number is 48 or less."),
        ("/compare?" + "&".join(["model=a"] * 7), "Model is given 6 times at most."),
        ("/?trained=x", "The filter 'x' isn't known; it is zero_shot, trained."),
    ],
)
def test_fields_that_do_not_fit_are_told_in_plain_words(site, address, told):
    answer = site().get(address)
    assert (answer.status_code, sentence(answer)) == (400, told)


def test_no_folder_of_the_server_is_told(site, folder):
    """The pictures' own sentences name the data set's folder."""
    client = site()
    image = re.search(r'src="(/images/\w+\.jpg)', client.get("/cells?number=1").text)[1]
    told = sentence(client.get(f"{image}?outlines=nonsense"))
    assert "isn't one of its own" in told
    assert str(folder.parent) not in told
    assert "/" not in told


def test_what_of_a_sentence_is_a_folder():
    told = "/srv/my-data/a/card.md: '/etc/passwd', https://hub.example/a/b and spec/test stay or go"
    assert without_places(told) == "card.md: 'passwd', https://hub.example/a/b and spec/test stay or go"
    assert without_places(TASK) == TASK
