"""Tables as YAML files, rows beside one another, and the paper's figures."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioma_hf import InputError
from glioma_hf.benchmark.comparison import compare
from glioma_hf.benchmark.paper import paper_rows
from glioma_hf.benchmark.results import ResultRow, read_row, write_row
from glioma_hf.benchmark.table import read_table, table_names
from glioma_hf.benchmark.written import to_csv, to_latex, to_markdown
from glioma_hf.metrics.intervals import ap_intervals, mean_ap_interval, paired_interval
from glioma_hf.metrics.matching import Counts
from glioma_hf.metrics.scoring_options import ScoringOptions
from tests.benchmark.test_results import make_row
from tests.conftest import FACTS

SMALL = "score: [{data: d}]\ndata: {d: folder}\n"


def test_shipped_tables_are_read():
    assert table_names() == ["t98g", "table2", "table3", "table4"]
    for name in table_names():
        table = read_table(name)
        assert table.models
        assert set(table.data) == {scored.data for scored in table.score}
    assert read_table("table4").modes == ["flattened"]
    assert len(list(read_table("table2").cells())) == 5 * 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("score: [{data: d}]\nmodelz: []", "modelz: Extra inputs are not permitted"),
        ("score: []", "score: List should have at least 1 item"),
        ("- a", "Input should be a valid dictionary"),
        ("a: [", "isn't YAML"),
        ("a: &x [1]\nb: *x", "with aliases"),
        ("[" * 40 + "]" * 40, "too deep"),
        ("a: !!python/object/apply:os.system ['true']", "isn't YAML"),
        (SMALL + "models: [{name: m}]", "a model has one of model, train and predictions, 'm' has 0"),
        (SMALL + "models: [{name: m, model: a, predictions: b}]", "'m' has 2"),
        (SMALL + "models: [{name: m, model: a}, {name: m, model: b}]", "two models are called 'm'"),
        (SMALL + "models: [{name: m, predictions: a, thresholds: kept}]", "settings and thresholds are of a model"),
        (
            SMALL + "scoring: {bordr: 3}",
            "the scoring has thresholds, border, border_rule, min_area, priority, not bordr",
        ),
        (SMALL + "scoring: {priority: middle}", "the priority 'middle' isn't known"),
        (SMALL + "scoring: {mode: flattened}", "the mode is among the table's modes"),
        (SMALL + "modes: [both]", "modes.0: Input should be 'overlapping' or 'flattened'"),
        (SMALL + "models: [{name: m, train: {images: [0]}}]", "images"),
        ("", "nothing is written in it"),
        (SMALL + "title: a\ntitle: b", "'title' is there twice in what begins at line 1; keep one"),
        (SMALL + "models:\n- {name: m, model: a, settings: {scale: 1, scale: 2}}", "'scale' is there twice in what"),
        (SMALL + "models: [{name: m, train: {seeds: [0, 1, 0]}}]", "seeds: 0 is there twice"),
        (SMALL + "modes: [flattened, flattened]", "modes: 'flattened' is there twice"),
        ("score: [{data: d, tasks: [cells, soma, cells]}]", "tasks: 'cells' is there twice"),
        ("score: [{data: d, tasks: [soma, cells]}, {data: d}]", "d, test, cells is scored twice"),
        (SMALL + "scoring: {border: -3}", "the border is a whole number of pixels from 0 on, not -3"),
        (SMALL + "scoring: {min_area: .nan}", "the min area is a whole number of pixels from 0 on, not nan"),
        (SMALL + f"models: [{{name: m, train: {{seeds: {list(range(101))}}}}}]", "seeds"),
    ],
)
def test_a_table_that_is_wrong_is_refused_in_a_sentence(text, says, tmp_path):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / "t.yaml")
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "t.yaml"))
    assert "\n" not in str(caught.value)


def test_a_table_that_isnt_there_or_is_huge_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="the table 'table9' isn't known; it is t98g, table2, table3, table4 or a YAML"
    ):
        read_table("table9")
    (tmp_path / "t.yaml").write_text("#" * (2**20 + 1))
    with pytest.raises(InputError, match="holds over 1048576 bytes"):
        read_table(tmp_path / "t.yaml")


def test_the_papers_figures_are_the_papers():
    if not (FACTS / "paper_tables.json").is_file():
        pytest.skip("the paper's tables are not beside the checkout (../shared/facts)")
    facts = json.loads((FACTS / "paper_tables.json").read_text())
    places = [("spec/test", "cells"), ("spec/test", "soma"), ("spec/test", "cell_a"), ("spec/test", "cell_b")]
    for name, table in (("table2_overlapping", "table2"), ("table4_non_overlapping", "table4")):
        printed = [[row[score] for score in list(row)[-6:]] for row in facts[name]]
        ours = [row for place in [*places, ("gen/test", "cells")] for row in paper_rows(table, *place)]
        assert [[round(100 * value, 2) for value in row.values.values()] for row in ours] == printed
        tuned = [row["fine_tuned"] for row in facts[name]]
        assert [row.model.endswith("fine-tuned") for row in ours] == tuned
    assert paper_rows("table2", "spec/train", "cells") == []


def test_rows_of_failures_come_back(tmp_path):
    row = ResultRow.of_failure("no such model", ScoringOptions(), data_set="d", task="cells", model="m")
    write_row(tmp_path / "r.json", row)
    assert read_row(tmp_path / "r.json") == row
    (group,) = compare([row])
    assert (group.lines[0].failed, group.ours, group.differences) == ("no such model", (), ())
    assert "failed: no such model" in to_markdown("t", "", [group])
    assert "no such model" in to_csv([group])


def test_differences_are_paired_and_the_better_one_comes_first():
    rows = [make_row(model="a", split="x/test"), make_row(model="b", split="x/test")]
    (group,) = compare(rows)
    (difference,) = group.differences
    assert (difference.by, difference.interval, difference.exceeds) == (0, (0, 0), False)
    assert [line.seeds for line in group.lines] == [1, 1]
    both = compare([make_row(model="a", seed=0), make_row(model="a", seed=1)])
    assert both[0].lines[0].seeds == 2
    assert both[0].lines[0].values["ap50"] == pytest.approx(rows[0].scores["ap50"])
    assert both[0].lines[0].intervals["ap50"] == pytest.approx(rows[0].intervals()[0.5])
    assert len(compare([make_row(model="a"), make_row(model="a", split="y/test")])) == 2


def test_signs_of_latex_and_markdown_are_escaped():
    groups = compare([make_row(model="50% of_it & a|b #{1}", split="x/test")])
    assert "50\\% of\\_it \\& a|b \\#\\{1\\}" in to_latex(groups)
    assert "a\\|b" in to_markdown("t", "", groups)


counts = st.builds(Counts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=8))
def test_intervals_are_of_the_same_draws(images):
    first, second = ([pair[side] for pair in images] for side in (0, 1))
    assert mean_ap_interval([first]) == ap_intervals([[c] for c in first])[0]
    by, (low, high) = paired_interval([first], [second])
    assert by == pytest.approx(sum(first, Counts()).ap - sum(second, Counts()).ap)
    turned, (least, most) = paired_interval([second], [first])
    assert (turned, least, most) == pytest.approx((-by, -high, -low))
    assert paired_interval([first, second], [second, first])[1] == pytest.approx((0, 0))


def test_what_is_hard_for_both_isnt_counted_as_chance():
    first = [Counts(9, 1, 0), Counts(1, 5, 4)] * 5
    second = [Counts(8, 2, 1), Counts(0, 6, 5)] * 5
    by, (low, high) = paired_interval([first], [second])
    assert 0 < low < by < high
    assert mean_ap_interval([first])[0] < mean_ap_interval([second])[1]  # the intervals themselves meet
    assert paired_interval([], []) == (0.0, (0.0, 0.0))
