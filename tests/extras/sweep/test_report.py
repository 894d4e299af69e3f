import csv
import json

import pytest

from imted.errors import UserError
from imted.extras.sweep.report import report
from imted.extras.sweep.runs import RECORD


def results(**values):
    return {"bbox": {"AP": 30.0, "APs": None, "AP-ring": 1.0, **values}}


@pytest.fixture
def write(tmp_path):
    """Write the folder of a run."""

    def write(name, content, record=None, metrics=()):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "results.json").write_text(text)
        (folder / "metrics.json").write_text("".join(json.dumps(m) + "\n" for m in metrics))
        if record:
            record = {"max_iter": 100, **record}
            (folder / RECORD).write_text(json.dumps(record))
        return folder

    return write


@pytest.fixture
def tables(tmp_path):
    """Write the report; return its tables, by the first cell of their header, and the text."""

    def make(*folders, baseline=None, metrics=None):
        folders = [str(tmp_path / folder) for folder in folders or [""]]
        text = report(folders, str(tmp_path / "out"), baseline, metrics)
        found = {}
        for block in text.split("\n\n"):
            if block.startswith("|"):
                rows = [[c.strip() for c in line.split("|")[1:-1]] for line in block.splitlines()]
                found[rows[0][0] or rows[0][1]] = {row[0]: row[1:] for row in [rows[0], *rows[2:]]}
        return found, text

    return make


def seeds(write, name, *values, **kwargs):
    for seed, value in enumerate(values):
        write(f"{name}_seed{seed}", results(nAP=value), **kwargs)


def test_seeds_share_a_row(write, tables):
    seeds(write, "2shot", 18, 20, 22)
    seeds(write, "10shot", 40)
    found, text = tables(metrics=["nAP"])
    # 20 ± 4.302653 * 2 / sqrt(3)
    assert found["runs"] == {
        "": ["runs", "bbox/nAP"],
        "2shot": ["3", "20.00 ± 4.97"],
        "10shot": ["1", "40.00"],
    }
    assert "metrics.png" in text


def test_differences_are_paired_by_seed(write, tables):
    seeds(write, "a", 10, 20, 31)
    seeds(write, "b", 11, 21, 32.5)
    write("c_seed2", results(nAP=30))
    found, _ = tables(baseline="a", metrics=["nAP"])
    # 1, 1, 1.5: mean 7/6, standard error 1/6, t = 7 with 2 degrees of freedom.
    assert found["bbox/nAP"]["b"] == ["3", "+1.17 ± 0.72", "0.020", "0.020"]
    assert found["bbox/nAP"]["c"] == ["1", "-1.00", "", ""]


def test_runs_of_one_name_and_other_configs_are_apart(write, tables):
    for number, rate in enumerate((0.1, 0.2)):
        config = {"optimizer.lr": rate, "train.seed": 0}
        record = {"number": number, "name": "x", "group": "x", "config": config}
        write(f"run{number}", results(nAP=10 * number), record)
    found, _ = tables(metrics=["nAP"])
    assert len(found["runs"]) == 3


def test_the_sweeps_order_is_kept_and_its_first_is_the_baseline(write, tables):
    for number, name in enumerate(("z", "a")):
        config = {"optimizer.lr": number, "train.seed": 0}
        write(name, results(), {"number": number, "name": name, "group": name, "config": config})
    found, _ = tables(metrics=["AP"])
    assert list(found["runs"]) == ["", "z", "a"] and list(found["bbox/AP"])[1:] == ["a"]


def test_what_was_measured_on_other_data_is_not_compared(write, tables):
    numbers = {("x", "a"): (10, 12), ("x", "b"): (13, 16), ("y", "a"): (50, 60)}
    for number, ((data, name), values) in enumerate(numbers.items()):
        for seed, value in enumerate(values):
            config = {"optimizer.lr": name, "dataset.val_json": data, "train.seed": seed}
            record = {"number": number, "name": name, "group": name, "config": config}
            write(f"{data}_{name}_{seed}", results(nAP=value), {**record, "data": data})
    found, text = tables(metrics=["nAP"])
    # Of two: 12.706205 * |difference| / 2 on each side of their mean.
    assert found["bbox/nAP"] == {"b": ["2", "+3.50 ± 6.35", "0.090", "0.090"]} | {
        "bbox/nAP": ["pairs", "minus a", "p", "p, Holm"]
    }
    overview = text.split("\n\n")[2].splitlines()
    assert overview[0].split() == ["|", "bbox/nAP", "|", "a", "|", "b", "|"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in overview[2:]]
    assert rows == [["x", "11.00 ± 12.71", "14.50 ± 19.06"], ["y", "55.00 ± 63.53", ""]]
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## x", "## y"]
    found, _ = tables(metrics=["nAP"], baseline="b")
    assert list(found["bbox/nAP"]) == ["bbox/nAP", "a"]


def test_a_run_that_is_not_finished_does_not_count(write, tables):
    config = {"train.max_iter": "${schedule.max_iter}", "train.seed": 0}
    for name, last in (("a", 100), ("b", 50)):
        record = {"number": 0, "name": name, "group": name, "config": {**config, "x": name}}
        metrics = [{"iteration": last, "evaluation_time": 1.0, "bbox/AP": 3.0}]
        write(name, results(), record, metrics)
    found, text = tables(metrics=["AP"])
    assert list(found["runs"]) == ["", "a"]
    assert "b, evaluated after 51 of 100 iterations." in text


def test_costs_and_curves_come_from_metrics_json(write, tables, tmp_path):
    metrics = [
        *({"iteration": i, "time": t, "max_mem": 700 + i} for i, t in enumerate((9.0, 0.2, 0.3))),
        *({"iteration": i, "evaluation_time": 1.0, "bbox/AP": float(i)} for i in (5, 10)),
    ]
    seeds(write, "a", 1, 2, metrics=metrics)
    found, _ = tables(metrics=["AP"])
    assert found["s/iteration"]["a"] == ["0.3", "701"]
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "out/runs.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["seed"], row["bbox/nAP"]) for row in rows] == [
        ("a", "0", "1"),
        ("a", "1", "2"),
    ]


def test_metrics_that_some_runs_lack(write, tables):
    write("a_seed0", results(nAP=4.0))
    write("a_seed1", results())
    found, _ = tables()
    assert found["runs"][""] == ["runs", "bbox/AP", "bbox/nAP"]  # single classes are left out
    assert found["runs"]["a"] == ["2", "30.00 ± 0.00", "4.00 (1 of 2)"]


@pytest.mark.parametrize("content", ["no json", "[1, 2]", '{"bbox": 3}', '{"a": {"b": "c"}}'])
def test_results_of_another_kind_are_named(write, tables, content):
    write("a", content)
    with pytest.raises(UserError, match=r"a/results.json is not (a results.json of|readable as)"):
        tables()


def test_what_is_not_there_is_named(write, tables, tmp_path):
    with pytest.raises(UserError, match=r"gone .* is no folder"):
        tables("gone")
    with pytest.raises(UserError, match="No run in"):
        tables("")
    write("a", results())
    with pytest.raises(UserError, match="no run has measured 'APs'; there are AP, AP-ring"):
        tables("", metrics=["APs"])
    with pytest.raises(UserError, match="--baseline 'b' is none of a"):
        tables("", baseline="b")
