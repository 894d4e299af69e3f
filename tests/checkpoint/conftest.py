import pytest
import torch

from imted.checkpoint import save_mae


@pytest.fixture
def mae_file(small_mae, tmp_path):
    """Write a small masked autoencoder's checkpoint; return its path and its weights by name."""

    def write(name: str = "mae_full.pth", drop: tuple[str, ...] = (), **kwargs):
        weights = small_mae(seed=7, **kwargs).official_state_dict()
        weights = {key: torch.randn_like(value) for key, value in weights.items()}
        path = tmp_path / name
        kept = {key: v for key, v in weights.items() if not key.startswith(drop or ("\0",))}
        torch.save({"model": kept}, path)
        return str(path), kept

    return write


@pytest.fixture
def saved_mae(small_mae, tmp_path):
    """Save a small masked autoencoder with `save_mae`; return the path and the model."""

    def save(name: str):
        model = small_mae(seed=7)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        path = str(tmp_path / name)
        save_mae(model, path)
        return path, model

    return save
