import importlib.util
import json
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/summarize_seeds.py"


@pytest.fixture
def summarize(tmp_path, capsys):
    """Write the results of some runs, summarize them, return the table's rows by metric."""
    spec = importlib.util.spec_from_file_location("summarize_seeds", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*results, options=()):
        paths = [tmp_path / f"{k}.json" for k in range(len(results))]
        for path, content in zip(paths, results, strict=True):
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        status = module.main([*map(str, paths), *options])
        out, err = capsys.readouterr()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()]
        return status, {row[1]: row for row in cells[2:]}, err

    return run


def test_table(summarize):
    runs = [
        {"bbox": {"AP": 30.0, "nAP": ap, "APs": small, "AP-ring": 1.0}}
        for ap, small in ((18.0, None), (20.0, 4.0), (22.0, None))
    ]
    status, rows, _ = summarize(*runs)
    assert status == 0
    # 20 ± 4.302653 * 2 / sqrt(3)
    assert rows["nAP"] == ["bbox", "nAP", "3", "20.00", "4.97"]
    assert rows["AP"] == ["bbox", "AP", "3", "30.00", "0.00"]
    assert rows["APs"] == ["bbox", "APs", "1", "4.00", "nan"]  # measured by one run alone
    assert "AP-ring" not in rows
    assert "AP-ring" in summarize(*runs, options=["--classes"])[1]


@pytest.mark.parametrize("content", ["no json", "[1, 2]", '{"bbox": 3}'])
def test_mistakes_end_with_one_line(summarize, content):
    status, _, error = summarize(content)
    assert status == 1
    assert "0.json is not a results.json of this project" in error and error.count("\n") == 1
