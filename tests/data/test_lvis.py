import pytest

from imted.data.lvis import lvis_dataset_dicts
from imted.errors import UserError


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("imted.data.lvis.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"lvis_v1_val .*pip install"):
        lvis_dataset_dicts("lvis_v1_val")
