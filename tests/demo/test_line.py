"""The line before the model: one at a time, everyone told their place, nobody waits for one who left."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from tests.conftest import ROOT
from tests.waiting import wait_for


@pytest.fixture
def turns(monkeypatch):
    """The page's module `turns`, which lies beside its script."""
    sys.path.insert(0, str(ROOT / "spaces" / "demo"))
    import turns

    monkeypatch.setattr(turns, "TICK", 0.01)
    yield turns
    sys.path.remove(str(ROOT / "spaces" / "demo"))


def test_five_at_once_are_served_one_after_the_other_and_told_their_place(turns):
    line = turns.Turns()
    at_work, most, ends = [0], [0], []
    told: dict[int, list[str]] = {number: [] for number in range(5)}

    def knows(number: int, place: int) -> bool:
        return any(sentence.startswith(f"You are number {place} in line") for sentence in told[number])

    def visit(number: int) -> None:
        with line.ticket("segment") as ticket:
            for sentence in ticket.waiting():
                told[number].append(sentence)
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            for kind, _ in ticket.follow(iter([("told", None), ("done", None)])):
                if kind == "told":  # it works until those behind know their new places
                    wait_for(lambda: all(knows(n, n - number + 1) for n in range(number + 1, 5)))
            at_work[0] -= 1
            ends.append(number)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        wait_for(lambda number=number: knows(number, number + 1) if number else at_work[0])
    for thread in threads:
        thread.join()
    assert most == [1]
    assert told[0] == []
    assert told[1][0].startswith("You are number 2 in line; it is your turn in about ")
    assert told[4][0].startswith("You are number 5 in line; it is your turn in about ")
    assert told[4][-1].startswith("You are number 2 in line")
    assert ends == [0, 1, 2, 3, 4]


def test_how_long_it_takes_is_learned(turns):
    line = turns.Turns()
    with line.ticket("segment") as ticket:
        assert list(ticket.waiting()) == []
        list(ticket.follow(iter([("done", None)])))
    assert line.expected("segment") < turns.SECONDS["segment"]


def test_one_who_left_is_passed_over(turns, monkeypatch):
    line = turns.Turns()
    gone = line.ticket("teach")
    gone.__enter__()
    with line.ticket("segment") as ticket:
        assert line.ahead(ticket)[0] == 1
        monkeypatch.setattr(gone, "heard", time.monotonic() - turns.STALE - 1)
        assert list(ticket.waiting()) == []


def test_one_who_gives_up_frees_the_place(turns):
    line = turns.Turns()
    with pytest.raises(KeyError), line.ticket("segment"):
        raise KeyError
    with line.ticket("segment") as ticket:
        assert line.ahead(ticket) == (0, 0)


def test_the_line_is_of_bounded_length(turns):
    line = turns.Turns()
    for _ in range(turns.LONGEST_LINE):
        line.ticket("segment").__enter__()
    with pytest.raises(turns.LineFull, match="too many visitors"):
        line.ticket("segment").__enter__()


@pytest.mark.long
def test_five_visitors_at_once(server):
    """Each waits for those before, and for no longer."""
    from tests.demo.visitor import Visitor

    visitors = [Visitor(server) for _ in range(5)]
    for visitor in visitors:
        visitor.send("sample", "blur", "Sparse cells")
    ends: list[float] = []
    started = time.monotonic()

    def find(visitor: Visitor) -> None:
        told = visitor.send("find", "click", visitor.first_model, "", None, "", False)
        assert "Done in" in told["status"]
        ends.append(time.monotonic() - started)

    threads = [threading.Thread(target=find, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("five visitors at once were done after", ", ".join(f"{end:.1f}" for end in sorted(ends)), "s")
    assert len(ends) == 5
    assert min(ends) < 0.6 * max(ends)  # side by side all would end together
