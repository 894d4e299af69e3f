import math

import pytest
from paths import ROOT

from imted.errors import UserError
from imted.extras.sweep.points import Point, expand, read_points, read_sets
from imted.extras.sweep.runs import plan


def overrides(*words, **kwargs):
    return [point.overrides for point in expand(words, **kwargs)]


def test_every_combination_is_a_point():
    assert expand(["a.lr=1,2", "fixed=x", "train.seed=range(2)"]) == [
        Point("lr-1_seed-0", "lr-1", ("fixed=x", "a.lr=1", "train.seed=0")),
        Point("lr-1_seed-1", "lr-1", ("fixed=x", "a.lr=1", "train.seed=1")),
        Point("lr-2_seed-0", "lr-2", ("fixed=x", "a.lr=2", "train.seed=0")),
        Point("lr-2_seed-1", "lr-2", ("fixed=x", "a.lr=2", "train.seed=1")),
    ]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("k=choice(a,b)", ["a", "b"]),
        ("k=range(1,8,3)", ["1", "4", "7"]),
        ("k=range(0.1,0.35,0.1)", ["0.1", "0.2", "0.30000000000000004"]),
        ("k=[1,2],[3]", ["[1,2]", "[3]"]),
        ("k={a:1},{a:2}", ["{a:1}", "{a:2}"]),
        ("k=null,true", ["null", "True"]),
        ("k='a,b',c", ["'a,b'", "c"]),
    ],
)
def test_values_are_those_of_hydras_grammar(word, values):
    assert overrides(word) == [(f"k={value}",) for value in values]


@pytest.mark.parametrize("word", ["k=[1,2]", "k='a,b'", "k=a b", "k=", "k=/a/b.json"])
def test_a_value_that_is_no_sweep_is_every_points(word):
    assert overrides(word, named={"p": ["x=1"]}) == [(word, "x=1")]


def test_a_pattern_stands_for_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.pth", "a.pth", "c.txt"):
        (tmp_path / name).touch()
    assert overrides("k=glob(*.pth)") == [("k='a.pth'",), ("k='b.pth'",)]
    assert overrides("k=glob(*,exclude=*.pth)") == [("k='c.txt'",)]
    with pytest.raises(UserError, match="has no value"):
        expand(["k=glob(*.gone)"])


def test_values_are_drawn_from_intervals():
    words = ["lr=tag(log,interval(1e-5,1e-1))", "decay=interval(0,1)", "train.seed=1,2"]
    points = overrides(*words, samples=400)
    assert len(points) == 800 and points[:3] == overrides(*words, samples=400)[:3]
    rates = [math.log10(float(point[1].partition("=")[2])) for point in points[400:]]
    assert all(-5 <= rate <= -1 for rate in rates)
    # Uniform in the logarithm: mean -3, standard deviation 4 / sqrt(12).
    assert sum(rates) / 400 == pytest.approx(-3, abs=3 * 4 / math.sqrt(12 * 400))
    assert overrides(*words, samples=2, seed=1) != overrides(*words, samples=2)


@pytest.mark.parametrize(
    ("words", "samples"), [(["a=interval(0,1)"], 0), (["a=1,2"], 3), (["a=interval(1,0)"], 1)]
)
def test_intervals_and_samples_belong_together(words, samples):
    with pytest.raises(UserError, match="interval"):
        expand(words, samples=samples)


def test_whatever_is_called_seed_is_one():
    (point, _) = expand(["few_shot.seed=3,4", "x=2"])
    assert (point.name, point.group) == ("seed-3", "run")


def test_one_seed_names_its_folder_so_that_others_can_follow():
    first, second = (expand(["a=1,2", "b=3", f"train.seed={seed}"]) for seed in (0, 1))
    assert [point.name for point in first] == ["a-1_seed-0", "a-2_seed-0"]
    assert [point.group for point in first] == [point.group for point in second] == ["a-1", "a-2"]
    both = expand(["a=1,2", "b=3", "train.seed=0,1"])
    assert {point.name for point in both} == {point.name for point in (*first, *second)}
    assert {point.overrides for point in both} == {point.overrides for point in (*first, *second)}


def test_names_are_folders_that_no_shell_misreads():
    names = [point.name for point in expand(["a.path=/x/y.json,'b c'", "b.path=[1,2],[3]"])]
    assert names == [
        "a.path-_x_y.json_b.path-_1_2",
        "a.path-_x_y.json_b.path-_3",
        "a.path-_b_c_b.path-_1_2",
        "a.path-_b_c_b.path-_3",
    ]
    (long, other) = expand([f"k={'x' * 300},{'x' * 301}"])
    assert len(long.name) == 120 and long.name != other.name


@pytest.mark.parametrize(
    "words",
    [
        ["k=range(0,1000000000)"],
        ["k=shuffle(range(1e9,0,-0.5))"],
        [f"k{i}=range(0,10)" for i in range(5)],
    ],
)
def test_more_points_than_anybody_runs_are_refused_at_once(words):
    with pytest.raises(UserError, match=r"The sweep has \d{6,} points; at most 10000"):
        expand(words)


def test_two_points_of_one_name_are_refused():
    with pytest.raises(UserError, match="share the folder 'k-a_b'"):
        expand(["k=a/b,a b"])


def test_points_have_names(tmp_path):
    (tmp_path / "points.py").write_text("points = dict(one=['a=1', 'b=2'], two=[])")
    named = read_points(str(tmp_path / "points.py"))
    assert [(p.name, p.group, p.overrides) for p in expand(["train.seed=3,4"], named)] == [
        ("one_seed-3", "one", ("a=1", "b=2", "train.seed=3")),
        ("one_seed-4", "one", ("a=1", "b=2", "train.seed=4")),
        ("two_seed-3", "two", ("train.seed=3",)),
        ("two_seed-4", "two", ("train.seed=4",)),
    ]


def test_data_sets_that_are_not_there_are_left_out_by_name(tmp_path):
    (tmp_path / "there.json").touch()
    text = "sets = {n: [f'dataset.train_json=FOLDER/{n}.json'] for n in ('gone', 'there')}"
    (tmp_path / "sets.py").write_text(text.replace("FOLDER", str(tmp_path)))
    sets, absent = read_sets(str(tmp_path / "sets.py"))
    chosen = f"dataset.train_json={tmp_path}/there.json"
    assert sets == {"there": [chosen]} and absent == {"gone": f"{tmp_path}/gone.json"}
    assert expand(["a=1,2"], {"p": ["b=3"]}, sets=sets) == [
        Point(f"there_p_a-{a}", f"p_a-{a}", (chosen, "b=3", f"a={a}"), "there") for a in (1, 2)
    ]
    (tmp_path / "there.json").unlink()
    with pytest.raises(UserError, match=r"none of its sets is there; no .*gone.json, no .*there"):
        read_sets(str(tmp_path / "sets.py"))


def test_the_sets_that_the_pages_measure_on_are_data_of_a_config(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for name in ("bccd", "voc_animals"):
        (tmp_path / "own_data" / name).mkdir(parents=True)
        for split in ("train", "val"):
            (tmp_path / "own_data" / name / f"{split}.json").touch()
    sets, absent = read_sets(str(ROOT / "configs/data_sets/own_data.py"))
    assert list(absent) == ["nuclei", "raccoons", "road_signs"]
    runs = plan(
        "configs/custom/imted_faster_rcnn_vit_tiny.py", expand([], sets=sets), str(tmp_path)
    )
    assert [run.point.data for run in runs] == ["bccd", "voc_animals"]


@pytest.mark.parametrize("text", ["", "points = 3", "points = dict(a=[1])", "1 / 0", "points = {}"])
def test_a_wrong_file_of_points_is_named(tmp_path, text):
    (tmp_path / "points.py").write_text(text)
    with pytest.raises(UserError, match=r"points\.py"):
        read_points(str(tmp_path / "points.py"))


def test_a_function_that_hydra_cannot_read():
    with pytest.raises(UserError, match="can't be read as a sweep"):
        expand(["k=range(a)"])


FILES = {path.stem: path for path in sorted((ROOT / "configs/ablation_points").glob("*.py"))}


@pytest.mark.parametrize("name", FILES)  # the config that they change
def test_the_ablations_points_are_runs(name, tmp_path):
    points = expand([], read_points(str(FILES[name])))
    runs = plan("configs/many_scales.py", points, str(tmp_path))
    assert len(runs) == len(points) >= 2
