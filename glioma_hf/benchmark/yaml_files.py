"""Entries of tables and studies, by name or from a YAML file of somebody's own, read in bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from glioma_hf.errors import InputError

MAX_BYTES = 2**20
MAX_EVENTS = 50_000  # of the YAML parser: scalars, beginnings and ends
MAX_DEPTH = 16

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value", bound=Hashable)


def names_in(folder: Path) -> list[str]:
    """The files that come with the package, by name."""
    return sorted(file.stem for file in folder.glob("*.yaml"))


def read_entries(kind: type[Model], what: str, name: str | Path, folder: Path) -> Model:
    """A model by its name in `folder`, or from a YAML file.

    Raises `InputError` that says what isn't known, or names the file and the entry that is wrong.
    """
    known = names_in(folder)
    path = folder / f"{name}.yaml" if str(name) in known else Path(name)
    try:
        if not path.is_file():
            raise InputError(f"the {what} {str(name)!r} isn't known; it is {', '.join(known)} or a YAML file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name}: can't be read ({error.strerror}); give a YAML file") from None
    return checked_entries(kind, parsed_yaml(data, str(name)), str(name))


def checked_entries(kind: type[Model], content: Any, name: str) -> Model:
    """A model from its entries. Raises `InputError` that begins with `name` and tells the entry that is wrong."""
    if content is None:
        raise InputError(f"{name}: nothing is written in it; give a table or study as the documentation has it")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{name}: {place + ': ' if place else ''}{reason}") from None


def parsed_yaml(data: bytes, name: str) -> Any:
    """The content of a YAML document, in bounds: no tags, no aliases, no name twice, not deep, not long."""
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: it holds over {MAX_BYTES} bytes; that is no table")
    depth = 0
    try:
        for number, event in enumerate(yaml.parse(data, Loader=yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if number > MAX_EVENTS or depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                raise InputError(f"{name}: too long, too deep or with aliases; write the table out plainly")
        if (root := yaml.compose(data, Loader=yaml.SafeLoader)) is not None:
            _check_names(root, name)
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{name}: isn't YAML ({reason}); mend it there") from None


def there_twice(values: Iterable[Value]) -> Value | None:
    """The first value that is there again; None where each is there once.

    >>> there_twice(["cells", "soma", "cells"])
    'cells'
    """
    return next((value for value, times in Counter(values).items() if times > 1), None)


def _check_names(node: yaml.Node, name: str) -> None:
    """Refuse a mapping with a name twice, of which YAML's reader would keep the later one and say nothing."""
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = there_twice(names)
        if twice is not None:
            line = node.start_mark.line + 1
            raise InputError(f"{name}: {twice!r} is there twice in what begins at line {line}; keep one")
        for _, value in node.value:
            _check_names(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_names(value, name)
