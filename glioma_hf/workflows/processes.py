"""The processes that `accelerate launch` starts; one alone where nothing else is said, or `accelerate` is missing."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Processes:
    """Who of several processes this one is.

    Attributes:
        first: whether it is the one that speaks and writes.
        count: how many there are.
    """

    def __init__(self) -> None:
        self._state = _state()
        self.first = self._state is None or bool(self._state.is_main_process)
        self.count = 1 if self._state is None else int(self._state.num_processes)

    def wait(self) -> None:
        """For the others to come here too."""
        if self._state is not None:
            self._state.wait_for_everyone()

    @contextmanager
    def first_goes_before(self) -> Iterator[None]:
        """The block, in the first process before it is in the others."""
        if self._state is None:
            yield
            return
        with self._state.main_process_first():
            yield

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process' part of the items."""
        return items if self.count == 1 else items[self._state.process_index :: self.count]

    def sum(self, number: int) -> int:
        """The sum of a number over all processes."""
        if self.count == 1:
            return number
        from accelerate.utils import gather_object

        return sum(gather_object([number]))


def _state() -> Any:
    try:
        from accelerate import PartialState
    except ImportError:  # a light installation: no models that need several processes either
        return None
    from glioma_hf.models.device import best_device

    state = PartialState(cpu=best_device().type == "cpu")
    if state.num_processes > 1:
        # Else gloo's threads are torn down with the interpreter, which on a busy machine ends in an abort.
        atexit.unregister(_leave)
        atexit.register(_leave)
    return state


def _leave() -> None:
    """Leave the group of processes in order."""
    from accelerate import PartialState

    PartialState().destroy_process_group()
