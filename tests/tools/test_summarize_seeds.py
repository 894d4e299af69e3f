import json

import pytest


@pytest.fixture
def summarize(load_script, tmp_path, capsys):
    """Write the results of runs by folder, summarize them; return status, header, rows, errors."""
    module = load_script("tools/summarize_seeds.py")

    def run(results: dict, *options):
        paths = [tmp_path / folder / "results.json" for folder in results]
        for path, content in zip(paths, results.values(), strict=True):
            path.parent.mkdir(parents=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        status = module.main([*map(str, paths), *options])
        out, err = capsys.readouterr()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()]
        return status, cells[:1], {row[1]: row for row in cells[2:]}, err

    return run


def runs(name: str, *values: float) -> dict:
    return {
        f"{name}_seed{k}": {"bbox": {"AP": 30.0, "nAP": value, "APs": None, "AP-ring": 1.0}}
        for k, value in enumerate(values)
    }


def test_runs_of_one_experiment_share_a_column(summarize):
    results = {**runs("10shot", 40), **runs("2shot", 18, 20, 22)}
    results["2shot_seed1"]["bbox"]["APs"] = 4.0  # measured by one run alone
    status, header, rows, _ = summarize(results)
    assert status == 0
    assert header == [["task", "metric", "2shot, 3 runs", "10shot, 1 run"]]
    # 20 ± 4.302653 * 2 / sqrt(3)
    assert rows == {
        "AP": ["bbox", "AP", "30.00 ± 0.00", "30.00"],
        "nAP": ["bbox", "nAP", "20.00 ± 4.97", "40.00"],
        "APs": ["bbox", "APs", "4.00 (1 of 3)", ""],
    }


def test_runs_of_other_folders_are_other_experiments(summarize, tmp_path):
    _, header, rows, _ = summarize({**runs("imted/2shot", 18, 20), **runs("control/2shot", 10)})
    assert header[0][2:] == [f"{tmp_path}/control/2shot, 1 run", f"{tmp_path}/imted/2shot, 2 runs"]
    assert rows["nAP"][2] == "10.00" and rows["nAP"][3].startswith("19.00 ± ")


def test_folders_that_name_the_seed_alone(summarize):
    _, header, rows, _ = summarize(
        {"mine/" + name[1:]: run for name, run in runs("", 8, 10).items()}
    )
    assert header[0][2:] == ["mine, 2 runs"] and rows["nAP"][2].startswith("9.00 ± ")


def test_a_run_that_is_named_twice_counts_once(summarize, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, header, rows, _ = summarize(runs("2shot", 18), "2shot_seed0/results.json")
    assert header[0][2:] == ["2shot, 1 run"] and rows["nAP"][2] == "18.00"


def test_metrics_can_be_chosen(summarize):
    _, _, rows, _ = summarize(runs("2shot", 18, 20), "--metrics", "AP-ring", "nAP")
    assert rows.keys() == {"nAP", "AP-ring"}


def test_a_metric_that_no_run_has(summarize):
    status, _, _, error = summarize(runs("2shot", 18), "--metrics", "APs")
    assert status == 1 and "no run has measured 'APs'; there are AP, AP-ring, nAP." in error


@pytest.mark.parametrize("content", ["no json", "[1, 2]", '{"bbox": 3}', '{"a": {"b": "c"}}'])
def test_errors_end_with_one_line(summarize, content):
    status, _, _, error = summarize({"a": content})
    assert status == 1
    assert "results.json is not a results.json of this project" in error and error.count("\n") == 1
