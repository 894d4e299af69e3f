import io
import json
import re
import threading
import urllib.request

import numpy as np
import pytest
from PIL import Image

from imted.errors import UserError
from imted.predict import Predictor

app_module = pytest.importorskip("imted.extras.web.app", reason="Flask is not installed")


def picture(size=(120, 90), format_="png", **options):
    pixels = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_, **options)
    return file.getvalue()


@pytest.fixture
def app(detector_run):
    return app_module.create_app(Predictor(str(detector_run())), threshold=0.25)


@pytest.fixture
def client(app):
    return app.test_client()


def test_the_page_has_the_classes_and_the_threshold(client):
    page = client.get("/").get_data(as_text=True)
    assert "ant, bee, cat" in page
    settings = json.loads(re.search(r'id="settings">(.*?)</script>', page, re.DOTALL)[1])
    assert settings["threshold"] == 0.25 and settings["blocks"] == 2
    # This run came of no MAE's file that is still there.
    assert "train.init_checkpoint" in settings["noReconstruction"]
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        assert client.get(path).status_code == 200
    assert not re.search(r'(?:src|href)="(?!/|data:)', page)  # nothing from elsewhere


def test_detections_are_the_predictors(client, detector_run):
    answer = client.post("/detect", data=picture()).get_json()
    expected = Predictor(str(detector_run("again")))(Image.open(io.BytesIO(picture())))
    assert (answer["width"], answer["height"]) == (120, 90)
    assert len(answer["detections"]) == len(expected) > 5
    first = answer["detections"][0]
    assert first["score"] == pytest.approx(expected.scores[0].item(), abs=1e-4)
    assert first["box"] == pytest.approx(expected.pred_boxes.tensor[0].tolist(), abs=0.01)
    assert first["name"] == expected.names[0]
    assert answer["picture"].startswith("data:image/jpeg;base64,")


def test_a_photograph_stands_upright(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    answer = client.post("/detect", data=picture(format_="jpeg", exif=exif)).get_json()
    assert (answer["width"], answer["height"]) == (90, 120)


def test_a_large_photograph_is_made_smaller_first(client):
    answer = client.post("/detect", data=picture((3200, 40), "jpeg")).get_json()
    assert (answer["width"], answer["height"]) == (1600, 20)


def test_the_attention_in_a_box(client):
    answer = client.post("/attention?box=10,20,60,70", data=picture()).get_json()
    weights = np.array(answer["weights"])
    assert weights.shape == (2, 49, 49)
    assert weights.sum(axis=-1) == pytest.approx(1, abs=0.01)


def test_the_reconstruction(detector_run, mae_file, monkeypatch):
    path, _ = mae_file()
    overrides = [f"train.init_checkpoint={path}"]
    predictor = Predictor(str(detector_run()), overrides=overrides)
    client = app_module.create_app(predictor).test_client()
    answers = [
        client.post(f"/reconstruction?seed={seed}", data=picture()).get_json()
        for seed in (0, 0, 2**70 + 1)
    ]
    assert set(answers[0]) == {"image", "hidden", "predicted"}
    assert answers[0] == answers[1] and answers[0]["hidden"] != answers[2]["hidden"]


def test_a_detector_without_a_decoder(detector_run):
    predictor = Predictor(str(detector_run(variant="baseline")))
    client = app_module.create_app(predictor).test_client()
    assert "not a MAE decoder" in client.get("/").get_data(as_text=True)
    answer = client.post("/attention?box=1,1,9,9", data=picture())
    assert answer.status_code == 400 and "not a MAE decoder" in answer.get_json()["error"]
    assert client.post("/detect", data=picture()).status_code == 200


def bomb():
    """A file of a few kilobytes that would be 900 million pixels."""
    file = io.BytesIO()
    Image.new("1", (30000, 30000)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("path", "data", "code", "sentence"),
    [
        ("/detect", b"", 400, "holds no image"),
        ("/detect", b"no image", 400, "can't be read as an image"),
        ("/detect", picture()[:200], 400, "can't be read as an image"),
        ("/detect", b"%!PS-Adobe-3.0\n", 400, "can't be read as an image"),
        ("/detect", bytes(20_000_001), 413, "larger than 20 MB"),
        ("/detect", picture((6000, 5000), "jpeg", quality=1), 413, "30 million pixels"),
        ("/detect", bomb(), 413, "million pixels"),
        ("/attention", picture(), 400, "is no box"),
        ("/attention?box=1,2,3", picture(), 400, "is no box"),
        ("/attention?box=5,5,5,9", picture(), 400, "is no box"),
        ("/attention?box=nan,0,5,5", picture(), 400, "is no box"),
        ("/attention?box=200,200,300,300", picture(), 400, "is no box"),
        ("/reconstruction", picture(), 400, "no reconstruction"),
        ("/nothing", b"", 404, "not found"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_the_server_lives(client, path, data, code, sentence):
    answer = client.post(path, data=data)
    assert answer.status_code == code
    assert sentence in answer.get_json()["error"]
    assert client.post("/detect", data=picture()).status_code == 200


def test_other_names_are_refused(client, detector_run):
    """A page elsewhere may let its own name point here."""
    assert client.get("/", headers={"Host": "localhost:7860"}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example:7860"}).status_code == 400
    predictor = Predictor(str(detector_run("open")))
    everywhere = app_module.create_app(predictor, host="0.0.0.0").test_client()
    assert everywhere.get("/", headers={"Host": "machine.example:7860"}).status_code == 200


def test_examples_are_held_out_images(client, app, detector_run, tmp_path):
    assert client.get("/examples/0").data == (tmp_path / "images/1.png").read_bytes()
    assert client.get("/examples/2").status_code == 404
    (tmp_path / "images/1.png").unlink()
    assert client.get("/examples/0").status_code == 404


@pytest.fixture
def address(app):
    server = app_module.open_server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_taken_port_is_one_sentence(address, app):
    with pytest.raises(UserError, match=r"can't be listened at .* another --port"):
        app_module.open_server(app, "127.0.0.1", int(address.rpartition(":")[2]))
    with pytest.raises(UserError, match="can't be listened at"):
        app_module.open_server(app, "no.such.host.invalid", 0)


def test_an_empty_host_does_not_mean_all_addresses(app):
    with pytest.raises(UserError, match="--host is empty"):
        app_module.open_server(app, "", 0)


def test_a_slow_request_does_not_keep_others_waiting_for_ever(detector_run, monkeypatch):
    predictor = Predictor(str(detector_run()))
    monkeypatch.setattr(app_module, "MAX_WAIT", 0.1)
    started, go_on = threading.Event(), threading.Event()

    class Slow:
        def __call__(self, image):
            started.set()
            assert go_on.wait(60)
            return predictor(image)

        def __getattr__(self, name):
            return getattr(predictor, name)

    client = app_module.create_app(Slow()).test_client()
    answers = []
    first = threading.Thread(
        target=lambda: answers.append(
            client.application.test_client().post("/detect", data=picture())
        )
    )
    first.start()
    assert started.wait(60)
    busy = client.post("/detect", data=picture())
    assert busy.status_code == 503 and "is busy" in busy.get_json()["error"]
    assert client.get("/").status_code == 200
    go_on.set()
    first.join()
    assert answers[0].status_code == 200


def test_requests_at_once_get_the_same_answer(address):
    answers = []

    def ask():
        with urllib.request.urlopen(f"{address}/detect", picture()) as answer:
            answers.append(json.load(answer))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["absent"], "absent doesn't exist"),
        (["{run}", "--confidence-threshold", "2"], "from 0 to 1"),
        (["{run}", "--port", "99999999"], "can't be listened at"),
    ],
)
def test_the_command_line(load_script, detector_run, capsys, args, sentence):
    run = detector_run()
    assert load_script("demo/web.py").main([arg.format(run=run) for arg in args]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error


@pytest.mark.slow
def test_a_real_browser(address, tmp_path):
    """Upload, detections, threshold, attention, and an upload that is no image."""
    sync_api = pytest.importorskip("playwright.sync_api")
    image, text = tmp_path / "image.png", tmp_path / "text.png"
    image.write_bytes(picture())
    text.write_text("no image")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(args=["--no-sandbox"])
        except sync_api.Error:
            try:  # one that the system has
                browser = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
            except sync_api.Error:
                pytest.skip("no browser is installed")
        page = browser.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.set_input_files("#file", str(image))
        page.wait_for_selector("#overlay rect", state="attached")
        every = page.locator("#overlay rect").count()
        page.locator("#threshold").fill("0")
        shown = page.locator("#overlay rect").count()
        assert shown >= every > 0 or every == 0 < shown
        assert page.locator("#count").inner_text() == f"{shown} of {shown} detections"
        page.locator("#found button").first.click()
        page.wait_for_selector("#attention:not([hidden])")
        page.locator("#region").click()
        assert "token 25 of 49" in page.locator("#attention-what").inner_text()
        page.locator("#threshold").fill("1")
        assert page.locator("#overlay rect").count() == 0
        page.set_input_files("#file", str(text))
        page.wait_for_selector("#message.error")
        assert "can't be read as an image" in page.locator("#message").inner_text()
        assert page.locator("#picture").is_visible()  # what was there stays
        assert errors == []
        browser.close()
