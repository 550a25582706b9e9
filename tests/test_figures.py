"""What figures show: no data outside its panel, a line in the legend for each arm, every lost run counted."""

import pytest
from matplotlib.figure import Figure

from sam_jax.lab import figures
from sam_jax.lab.results import Results


def drawn(tmp_path, curves, titles=None):
    """The panel of arms with these test accuracies in percent by epoch, None where the run has diverged."""
    rows = [
        {"dataset": "mine", "arm": arm, "seed": 0, "epoch": epoch, "diverged": value is None}
        | {"test_accuracy": None if value is None else value / 100}
        for arm, values in curves.items()
        for epoch, value in enumerate(values)
    ]
    cells = {arm: {"title": (titles or {}).get(arm, arm), "tags": {}} for arm in curves}
    manifest = {"cells": {"mine": cells}, "data": {"mine": {"measure": "accuracy", "chance": {"accuracy": 10.0}}}}
    return Results(tmp_path, manifest, rows)


@pytest.mark.parametrize(
    ("curves", "low", "high"),
    [
        ({"a": [10, 50, 56, 57], "falls": [10, 56, 45, 30]}, 30, 57),
        ({"a": [10, 50, 54, 55], "lost": [10, 70, 80, None]}, 50, 80),
        ({"a": [10, 50, 54, 55], "early": [10, 12, None, None]}, 12, 55),
        ({"a": [10, 50, 54, 55], "at once": [10, None, None, None]}, 50, 55),
    ],
)
def test_no_curve_leaves_its_panel_but_for_where_it_began(curves, low, high, tmp_path):
    axis = Figure().subplots()
    results = drawn(tmp_path, curves)
    figures.accuracy(axis, results, "mine", figures.looks(results, "mine", {}))
    bottom, top = axis.get_ylim()
    assert 0 <= bottom <= low and high <= top and low - bottom <= 6 and top - high <= 4


def test_arms_of_one_title_keep_a_line_each_in_the_legend(tmp_path):
    results = drawn(tmp_path, {"a": [10, 50], "b": [10, 40]}, titles={"a": "SGD", "b": "SGD"})
    legends = []

    class Spy(Figure):
        def legend(self, handles, labels, **look):
            legends.append([*labels])
            return super().legend(handles, legends[-1], **look)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure", Spy)
        figures.curves(tmp_path / "curves.png", results, splits=("test",))
    assert legends == [["SGD", "SGD"]]


def test_a_figures_legend_counts_what_was_lost_on_all_data_sets(tmp_path):
    results = drawn(tmp_path, {"a": [10, 50, None]})
    other = [row | {"dataset": "other", "diverged": False, "test_accuracy": 0.5} for row in results.rows]
    results = results._replace(rows=[*results.rows, *other])
    assert results.lost("mine", "a") == " (1 of 1 diverged)" and results.lost(None, "a") == " (1 of 2 diverged)"


def test_a_data_set_that_was_not_begun_is_left_out(tmp_path):
    """As in a folder whose run was stopped on the first of its sets: the manifest names all."""
    results = drawn(tmp_path, {"a": [10, 50]})
    results.manifest["data"]["later"] = results.manifest["data"]["mine"]
    assert results.datasets == ["mine"]


def test_an_arm_that_learned_nothing_is_told_in_words_where_it_would_squeeze_the_others(tmp_path):
    curves = {"a": [10, 84], "b": [10, 85], "c": [10, 82], "nothing": [10, 11]}
    results, axis = drawn(tmp_path, curves), Figure().subplots()
    figures.points(axis, results, "mine", figures.looks(results, "mine", {}))
    assert 80 < axis.get_xlim()[0] < 82 and [text.get_text() for text in axis.texts] == ["◂ 11.0, outside the panel"]
    axis = Figure().subplots()
    results = drawn(tmp_path, curves | {"nothing": [10, 70], "low": [10, 60]})  # a spread, and no gap
    figures.points(axis, results, "mine", figures.looks(results, "mine", {}))
    assert axis.get_xlim()[0] < 60 and not axis.texts
