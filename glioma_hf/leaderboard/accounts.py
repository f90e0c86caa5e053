"""Accounts: who may send and see what. Passwords are kept as argon2 hashes, log-ins as hashes of their cookies."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.tables import Developer, Visit, now
from glioma_hf.leaderboard.words import DEVELOPER, MAINTAINER

LOG = logging.getLogger("glioma_hf.leaderboard")
LEAST_PASSWORD, MOST_PASSWORD = 10, 200  # signs
STAYS = datetime.timedelta(days=14)  # of a log-in
WRONG = "name or password is wrong; try again"
_HASHER = PasswordHasher()
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,38}")


class TooMany(InputError):
    """Too many tries in too short a time."""


@dataclass(frozen=True)
class Visitor:
    """Who is logged in, and the word that their forms carry so that no other site's do."""

    id: str
    name: str
    role: str
    form_word: str

    @property
    def is_maintainer(self) -> bool:
        """Whether data sets and tasks are theirs to add."""
        return self.role == MAINTAINER


class Doors:
    """Registering and logging in to a board, so often and no more from one place and under one name."""

    def __init__(self, board: Board, tries: int = 5, from_one_place: int = 30):
        """Let in.

        Args:
            tries: log-ins a minute under one name.
            from_one_place: log-ins a minute from one place, and new accounts an hour: each may send anew.
        """
        self.board = board
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._by_name, self._by_place = RateLimitItemPerMinute(tries), RateLimitItemPerMinute(from_one_place)
        self._new = RateLimitItemPerHour(from_one_place)

    def register(self, name: str, password: str, place: str) -> str:
        """A new account; its id. Raises `InputError` for a name that is taken or none, and a short password."""
        self._count(self._new, "register", place)
        return add_account(self.board, name, password)

    def log_in(self, name: str, password: str, place: str) -> str:
        """The cookie of a new log-in. Raises `InputError`, the same for a wrong name and a wrong password."""
        self._count(self._by_place, "place", place)
        self._count(self._by_name, "name", name[:40].lower())
        with self.board.database.reading() as session:
            found = _by_name(session, name)
        known = found.pass_hash if found is not None and found.pass_hash else _NOBODY
        if not _fits(known, password) or found is None or not found.pass_hash:
            LOG.info("a log-in was refused")
            raise InputError(WRONG)
        if _HASHER.check_needs_rehash(known):
            with self.board.database.writing() as session:
                session.get_one(Developer, found.id).pass_hash = _HASHER.hash(password)
        return self.let_in(found.id)

    def change_password(self, visitor: Visitor, old: str, new: str) -> str:
        """The cookie of a new log-in; all others of this visitor end.

        Raises `InputError` for a wrong old password, a new one that is too short, and who has none.
        """
        self._count(self._by_name, "name", visitor.name.lower())
        with self.board.database.reading() as session:
            known = session.get_one(Developer, visitor.id).pass_hash
        if not known:
            raise InputError("you log in by the Hub and have no password here")
        if not _fits(known, old):
            raise InputError("the old password is wrong")
        set_password(self.board, visitor.name, new)
        return self.let_in(visitor.id)

    def log_in_from_hub(self, hub_name: str) -> str:
        """The cookie of a new log-in of somebody whom the Hub vouches for; an account is made the first time."""
        with self.board.database.reading() as session:
            found = session.scalars(select(Developer.id).filter_by(hub_name=hub_name)).first()
        return self.let_in(found or _add_from_hub(self.board, hub_name))

    def let_in(self, developer: str) -> str:
        """The cookie of a new log-in."""
        cookie = secrets.token_urlsafe(32)
        with self.board.database.writing() as session:
            session.execute(delete(Visit).where(Visit.expires < now()))
            session.add(Visit(token_hash=_hash(cookie), developer_id=developer, expires=now() + STAYS))
        return cookie

    def visitor(self, cookie: str | None) -> Visitor | None:
        """Who has a cookie; None for one that isn't known, or not any more."""
        if not cookie or len(cookie) > 100:
            return None
        with self.board.database.reading() as session:
            chosen = select(Developer).join(Visit).where(Visit.token_hash == _hash(cookie), Visit.expires > now())
            found = session.scalars(chosen).first()
        if found is None:
            return None
        return Visitor(found.id, found.name, found.role, form_word(cookie))

    def log_out(self, cookie: str | None) -> None:
        """Forget a log-in."""
        if cookie:
            with self.board.database.writing() as session:
                session.execute(delete(Visit).where(Visit.token_hash == _hash(cookie)))

    def _count(self, limit: RateLimitItem, what: str, whose: str) -> None:
        if not self._limiter.hit(limit, what, whose):
            LOG.warning("too many tries (%s)", what)
            raise TooMany(f"too many tries; wait {'an hour' if limit is self._new else 'a minute'}")


def add_account(board: Board, name: str, password: str, role: str = DEVELOPER) -> str:
    """A new account; its id. Raises `InputError` for a name that is taken or none, and for a short password."""
    if not _NAME.fullmatch(name):
        raise InputError(
            "a name has 2 to 39 letters, digits, dots, dashes and underscores; it begins with one of the first two"
        )
    hashed = _hashed(password)
    try:
        with board.database.writing() as session:
            if _by_name(session, name) is not None:
                raise _taken(name)
            row = Developer(name=name, pass_hash=hashed, role=role)
            session.add(row)
    except IntegrityError:
        raise _taken(name) from None
    return row.id


def has_account(board: Board, name: str) -> bool:
    """Whether somebody is called so."""
    with board.database.reading() as session:
        return _by_name(session, name) is not None


def set_role(board: Board, name: str, role: str) -> None:
    """Make somebody a maintainer, or a developer again. Raises `InputError` where nobody is called so."""
    with board.database.writing() as session:
        _called(session, name).role = role


def set_password(board: Board, name: str, password: str) -> None:
    """Give somebody another password; whoever is logged in as them no longer is.

    Raises `InputError` where nobody is called so, and for a short password.
    """
    hashed = _hashed(password)
    with board.database.writing() as session:
        found = _called(session, name)
        found.pass_hash = hashed
        session.execute(delete(Visit).where(Visit.developer_id == found.id))


def form_word(cookie: str) -> str:
    """What forms carry of somebody with this cookie; it doesn't tell the cookie."""
    return hmac.new(cookie.encode(), b"form", hashlib.sha256).hexdigest()


def _called(session: Session, name: str) -> Developer:
    found = _by_name(session, name)
    if found is None:
        raise InputError(f"nobody is called {name[:40]}")
    return found


def _hashed(password: str) -> str:
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise InputError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} signs")
    return _HASHER.hash(password)


def _fits(known: str, password: str) -> bool:
    """Whether a password is that of a hash."""
    try:
        return _HASHER.verify(known, password[:MOST_PASSWORD])
    except (VerifyMismatchError, InvalidHashError):
        return False


def _add_from_hub(board: Board, hub_name: str) -> str:
    """An account without a password; where somebody here has the name it gets a number behind it."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", hub_name)[:30] or "someone"
    for number in range(1, 1000):
        called = name if number == 1 else f"{name}-{number}"
        try:
            with board.database.writing() as session:
                if _by_name(session, called) is None:
                    row = Developer(name=called, hub_name=hub_name)
                    session.add(row)
                    session.flush()
                    return row.id
        except IntegrityError:
            continue
    raise InputError(f"no name is left for {hub_name}")


def _by_name(session: Session, name: str) -> Developer | None:
    """Whoever is called so, in any case: nobody takes another's name in other letters."""
    return session.scalars(select(Developer).where(func.lower(Developer.name) == name.lower())).first()


def _taken(name: str) -> InputError:
    return InputError(f"somebody is called {name} already; take another name")


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


# Verified against where nobody has the name: it takes as long as a wrong password.
_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))
