"""What went wrong, in a sentence: the same for pages, the JSON API and Gradio, without this machine's folders."""

from __future__ import annotations

import logging
import secrets
from typing import Any

from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.accounts import TooMany
from glioma_hf.leaderboard.bounded import without_places

LOG = logging.getLogger("glioma_hf.leaderboard")
# Of those who ask, not faults of ours; the last two are of text that can't be stored, such as half a sign.
BAD_INPUT = (InputError, HTTPException, RequestValidationError, DataError, UnicodeEncodeError)


def told(error: BaseException) -> tuple[int, str]:
    """The status of an answer, and its sentence; what nobody foresaw is logged under a number."""
    if isinstance(error, HTTPException):
        return error.status_code, "there is no such page" if error.status_code == 404 else str(error.detail)
    if isinstance(error, RequestValidationError):
        return 400, _of_field(error.errors()[0])
    if isinstance(error, DataError | UnicodeEncodeError):
        return 400, "a field holds what can't be stored; send plain text"
    if isinstance(error, InputError):
        text = without_places(str(error))
        return 429 if isinstance(error, TooMany) else 404 if text.startswith("there is no") else 400, text
    number = secrets.token_hex(4)
    LOG.error("unforeseen error %s", number, exc_info=error)
    return 500, f"something went wrong that is our fault, not yours; please report the number {number}"


def _of_field(fault: dict[str, Any]) -> str:
    """What doesn't fit in a field; pydantic's own words are for programmers."""
    field, limits = fault["loc"][-1], fault.get("ctx", {})
    words = {
        "json_invalid": "what was sent isn't JSON",
        "missing": f"{field} is missing",
        "int_parsing": f"{field} is a whole number",
        "greater_than_equal": f"{field} is {limits.get('ge')} or more",
        "less_than_equal": f"{field} is {limits.get('le')} or less",
        "too_long": f"{field} is given {limits.get('max_length')} times at most",
    }
    return words.get(fault["type"], f"{field}: {str(fault['msg']).lower()}")
