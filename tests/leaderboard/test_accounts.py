from __future__ import annotations

import logging

import pytest
from sqlalchemy import select

from glioma_hf import InputError
from glioma_hf.leaderboard.accounts import Doors, TooMany, add_account, form_word, set_password, set_role
from glioma_hf.leaderboard.tables import Developer, Visit, now

SECRET = "correct horse battery"


def test_who_logs_in_is_known_until_they_log_out(board):
    doors = Doors(board)
    ann = doors.register("Ann", SECRET, "1.2.3.4")
    cookie = doors.log_in("ann", SECRET, "1.2.3.4")
    visitor = doors.visitor(cookie)
    assert (visitor.id, visitor.name, visitor.is_maintainer) == (ann, "Ann", False)
    assert visitor.form_word == form_word(cookie) != cookie
    set_role(board, "Ann", "maintainer")
    assert doors.visitor(cookie).is_maintainer
    for forged in (None, "", cookie[:-1] + "!", "x" * 1000, "'; DROP TABLE visit; --"):
        assert doors.visitor(forged) is None
    doors.log_out(cookie)
    assert doors.visitor(cookie) is None


def test_new_accounts_are_few_an_hour_from_one_place(board):
    """Each may send as many submissions a day as any other."""
    doors = Doors(board, from_one_place=2)
    for name in ("Ann", "Bob"):
        doors.register(name, SECRET, "1.2.3.4")
    with pytest.raises(TooMany, match="too many tries; wait an hour"):
        doors.register("Cem", SECRET, "1.2.3.4")
    doors.register("Cem", SECRET, "1.2.3.5")
    doors.log_in("Ann", SECRET, "1.2.3.4")


def test_a_password_is_changed_and_other_log_ins_end(board):
    doors, new = Doors(board), "staple correct horse"
    doors.register("Ann", SECRET, "here")
    here, elsewhere = doors.log_in("Ann", SECRET, "here"), doors.log_in("Ann", SECRET, "there")
    ann = doors.visitor(here)
    with pytest.raises(InputError, match="the old password is wrong"):
        doors.change_password(ann, "guessed", new)
    with pytest.raises(InputError, match="a password has 10 to 200 signs"):
        doors.change_password(ann, SECRET, "short")
    changed = doors.change_password(ann, SECRET, new)
    assert [doors.visitor(cookie) for cookie in (here, elsewhere)] == [None, None]
    assert doors.visitor(changed).id == ann.id
    with pytest.raises(TooMany):  # guessed here as little as at log-in
        doors.change_password(ann, "guessed", new)
    doors = Doors(board)
    with pytest.raises(InputError):
        doors.log_in("Ann", SECRET, "here")
    assert doors.visitor(doors.log_in("Ann", new, "here")).id == ann.id
    hub = doors.visitor(doors.log_in_from_hub("cem"))
    with pytest.raises(InputError, match="you log in by the Hub and have no password here"):
        doors.change_password(hub, "", new)
    with pytest.raises(InputError, match="nobody is called Dora"):
        set_password(board, "Dora", new)


def test_a_log_in_ends(board):
    doors = Doors(board)
    cookie = doors.let_in(doors.register("Ann", SECRET, "here"))
    with board.database.writing() as session:
        session.scalars(select(Visit)).one().expires = now()
    assert doors.visitor(cookie) is None


def test_the_database_holds_hashes_alone(board):
    doors = Doors(board)
    doors.register("Ann", SECRET, "here")
    cookie = doors.log_in("Ann", SECRET, "here")
    with board.database.reading() as session:
        assert session.scalars(select(Developer).filter_by(name="Ann")).one().pass_hash.startswith("$argon2id$")
        assert session.scalars(select(Visit)).one().token_hash != cookie
    record = b"".join(p.read_bytes() for p in board.database.record.folder.rglob("*.jsonl"))
    assert b"argon2id" in record
    assert SECRET.encode() not in record
    assert cookie.encode() not in record


@pytest.mark.parametrize(
    ("name", "password", "told"),
    [
        ("Ann", SECRET, "somebody is called Ann already"),
        ("aNN", SECRET, "somebody is called aNN already"),
        ("the paper", SECRET, "a name has 2 to 39"),
        ("<script>", SECRET, "a name has 2 to 39"),
        ("x' OR '1'='1", SECRET, "a name has 2 to 39"),
        ("A", SECRET, "a name has 2 to 39"),
        ("Bob", "short", "a password has 10 to 200 signs"),
        ("Bob", "x" * 201, "a password has 10 to 200 signs"),
    ],
)
def test_names_and_passwords_that_are_none_are_refused(board, name, password, told):
    add_account(board, "Ann", SECRET)
    with pytest.raises(InputError, match=told):
        add_account(board, name, password)


def test_a_wrong_name_and_a_wrong_password_are_told_alike_and_not_often(board, caplog):
    doors = Doors(board, tries=4)
    doors.register("Ann", SECRET, "here")
    caplog.set_level(logging.INFO)
    told = set()
    for name in ("Ann", "Nobody", "the paper"):
        with pytest.raises(InputError) as caught:
            doors.log_in(name, "wrong password", "here")
        told.add(str(caught.value))
    assert told == {"name or password is wrong; try again"}
    for _ in range(3):
        with pytest.raises(InputError):
            doors.log_in("Ann", "wrong password", "elsewhere")
    with pytest.raises(TooMany, match="wait a minute"):
        doors.log_in("Ann", SECRET, "elsewhere")
    assert "wrong password" not in caplog.text
    assert SECRET not in caplog.text


def test_one_place_is_bounded_whatever_the_names(board):
    doors = Doors(board, from_one_place=3)
    for number in range(3):
        with pytest.raises(InputError, match="is wrong"):
            doors.log_in(f"name{number}", "wrong password", "here")
    with pytest.raises(TooMany):
        doors.log_in("another", "wrong password", "here")


def test_whom_the_hub_vouches_for_gets_an_account_of_their_own(board):
    doors = Doors(board)
    add_account(board, "Ann", SECRET)
    cookie = doors.log_in_from_hub("ann")
    first = doors.visitor(cookie)
    assert first.name == "ann-2", "the Hub's ann isn't the one who registered here"
    assert doors.visitor(doors.log_in_from_hub("ann")).id == first.id
    with pytest.raises(InputError, match="is wrong"):
        doors.log_in("ann-2", "", "here")
