import http.server
import os
import pickle
import threading

import numpy as np
import pytest
import torch

from imted.checkpoint import load_checkpoint, read_description, read_state_dict
from imted.errors import UserError
from imted.training.checkpointers import RunCheckpointer

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


class Evil:
    """Make a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def serve():
    """Serve what a list says, one answer a request; then the last one for ever."""
    servers = []

    def start(*answers):
        rest = list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = rest.pop(0) if len(rest) > 1 else rest[0]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/weights.pth"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_wrappers_put_before_names_is_taken_off(tmp_path, prefix):
    path = tmp_path / "w.pth"
    torch.save({"model": {prefix + key: value for key, value in WEIGHTS.items()}}, path)
    assert read_state_dict(str(path)).keys() == WEIGHTS.keys()


def test_a_module_of_that_name_is_none(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.pth")
    assert list(read_state_dict(str(tmp_path / "w.pth"))) == ["module.a", "b"]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_detectron2s_pkl_is_read(tmp_path, protocol):
    arrays = {key: value.numpy() for key, value in WEIGHTS.items()}
    content = {"model": {**arrays, "few": np.float32(3)}, "__author__": "x"}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_state_dict(str(tmp_path / "w.pkl"))
    torch.testing.assert_close(found, WEIGHTS, rtol=0, atol=0)


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_what_a_file_shares_is_not_multiplied(tmp_path, suffix):
    """50 dicts, each of which has the one before it twice, would be 2^50."""
    shared = {}
    for _ in range(50):
        shared = {"a": shared, "b": shared}
    content = {"model": dict(WEIGHTS), "description": {"classes": shared}, "more": shared}
    if suffix == "pkl":
        content["model"] = {key: value.numpy() for key, value in WEIGHTS.items()}
        (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / "w.pth")
    path = str(tmp_path / f"w.{suffix}")
    torch.testing.assert_close(read_state_dict(path), WEIGHTS, rtol=0, atol=0)
    with pytest.raises(UserError, match=rf"w\.{suffix} can't be read: it has more than"):
        read_description(path)


@pytest.mark.parametrize("suffix", ["pkl", "pth", "safetensors", "bin"])
def test_no_file_of_weights_is_run(tmp_path, suffix):
    content = {"model": {"w": Evil(tmp_path / "ran")}}
    (tmp_path / f"a.{suffix}").write_bytes(pickle.dumps(content))
    torch.save(content, tmp_path / f"b.{suffix}")
    for name in ("a", "b"):
        with pytest.raises(UserError, match="is not a checkpoint of plain tensors"):
            read_state_dict(str(tmp_path / f"{name}.{suffix}"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["evil", "empty", "torn", "html"])
def test_no_checkpoint_to_resume_from_is_run(tmp_path, damage):
    path, model = tmp_path / "model_0000001.pth", torch.nn.Linear(1, 1)
    torch.save({"model": model.state_dict(), "trainer": Evil(tmp_path / "ran")}, path)
    content = path.read_bytes()
    damaged = {"evil": content, "empty": b"", "torn": content[:200], "html": b"<html></html>"}
    path.write_bytes(damaged[damage])
    (tmp_path / "last_checkpoint").write_text(path.name)
    with pytest.raises(UserError, match=rf"{path.name} can't be resumed from \(.+\)"):
        RunCheckpointer(model, str(tmp_path), None, trainer=torch.nn.Linear(1, 1)).resume()
    assert not (tmp_path / "ran").exists()


def test_a_page_that_was_fetched_for_weights_is_fetched_again(cache, serve, tmp_path):
    torch.save(WEIGHTS, tmp_path / "w.pth")
    url = serve(b"<html>Sorry</html>", (tmp_path / "w.pth").read_bytes())
    assert read_state_dict(url).keys() == WEIGHTS.keys()


def test_a_server_that_has_only_pages_is_named_with_the_file(cache, serve):
    with pytest.raises(UserError, match=rf"http.*fetched again into {cache}.* not a checkpoint"):
        read_state_dict(serve(b"<html>Sorry</html>"))


def test_a_server_that_never_answers_is_left(cache, monkeypatch):
    import socket

    monkeypatch.setattr("imted.checkpoint.files._PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        with pytest.raises(UserError, match=r"cannot be fetched: .*timed out"):
            read_state_dict(url)
    assert socket.getdefaulttimeout() is None


def test_integers_for_weights_are_refused(tmp_path):
    model = torch.nn.Linear(3, 2)
    rounded = {key: value.long() for key, value in model.state_dict().items()}
    torch.save({"model": rounded}, tmp_path / "rounded.pth")
    with pytest.raises(UserError, match=r"rounded.pth .* has 'weight' in torch.int64"):
        load_checkpoint(model, str(tmp_path / "rounded.pth"))


def test_names_that_are_no_text_are_no_weights(tmp_path):
    torch.save({"model": {1: torch.ones(2)}}, tmp_path / "numbers.pth")
    with pytest.raises(UserError, match=r"numbers.pth .* holds no weights"):
        read_state_dict(str(tmp_path / "numbers.pth"))
