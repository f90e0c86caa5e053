"""Logging in by the Hub, with huggingface_hub's own routes and a profile that is made up: no Space, no network."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from glioma_hf.leaderboard.tables import Developer
from glioma_hf.resources import bundled

pytest.importorskip("itsdangerous", reason="logging in by the Hub needs huggingface_hub[oauth]")


@pytest.fixture
def browser(board, monkeypatch):
    """A function that gives a browser whose owner is called so on the Hub."""
    import huggingface_hub._oauth as oauth
    from fastapi.testclient import TestClient

    monkeypatch.syspath_prepend(str(bundled("spaces/leaderboard")))
    import site_pages
    import taking_part

    monkeypatch.setattr(taking_part, "HUB", True)

    def open_as(name: str):
        user = {"sub": name, "name": name, "preferred_username": name, "profile": "", "picture": "", "website": ""}
        told = {"access_token": "hf_x", "expires_at": 2**31, "scope": "openid profile", "userinfo": user}
        monkeypatch.setattr(oauth, "_get_mocked_oauth_info", lambda: told)
        with pytest.warns(UserWarning, match="OAuth is not supported outside of a Space"):
            app = site_pages.make_site(board)
        return TestClient(app, base_url="https://testserver", raise_server_exceptions=False)

    return open_as


def developers(board) -> dict[str, str | None]:
    with board.database.reading() as session:
        return {row.name: row.hub_name for row in session.scalars(select(Developer)) if row.hub_name}


def test_whom_the_hub_vouches_for_is_let_in_and_known_again(browser, board):
    client = browser("Ann")
    assert 'href="/log-in/hub"' in client.get("/log-in").text
    page = client.get("/log-in/hub")
    assert page.url.path == "/take-part"
    assert "Log out" in page.text
    assert developers(board) == {"Ann": "Ann"}
    assert "Log out" in browser("Ann").get("/log-in/hub").text
    assert developers(board) == {"Ann": "Ann"}


def test_a_name_that_somebody_has_here_isn_t_taken_over(browser, board, ann):
    assert "Ann-2" in browser("Ann").get("/log-in/hub").text
    assert developers(board) == {"Ann-2": "Ann"}


def test_where_no_hub_vouches_there_is_no_such_log_in(site):
    client = site()
    assert "/log-in/hub" not in client.get("/log-in").text
    answer = client.get("/log-in/hub")
    assert answer.status_code == 404
    assert "no log-in by the Hub here" in answer.text
