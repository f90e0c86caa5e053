"""Models that are submitted by a name: saved ones on the Hub, and those that come with the package."""

from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save
from sqlalchemy import func, select

from glioma_hf import InputError
from glioma_hf.leaderboard import scoring
from glioma_hf.leaderboard.submissions import ModelFacts, submit
from glioma_hf.leaderboard.tables import Scoring, Submission
from tests.leaderboard.hub import hub_server
from tests.leaderboard.made import TASK


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub that this process and those that it starts ask, with what a saved model has."""
    info = {"format": 1, "family": "unet", "base": "random", "task": "cells"}
    with hub_server() as running:
        running.files |= {"model.json": json.dumps(info).encode(), "README.md": b"# A model"}
        running.files |= {"config.json": b"{}", "model.safetensors": save({"weight": np.zeros(3, np.float32)})}
        running.files |= {"evil.py": b"raise SystemExit(9)", "pytorch_model.bin": pickle.dumps("weights")}
        for name, value in (("HF_ENDPOINT", running.url), ("HF_HUB_OFFLINE", "0"), ("HF_TOKEN", "hf_secret")):
            monkeypatch.setenv(name, value)
        address = f"{running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield running


def sent(board, ann, name, **given) -> str:
    return submit(board, ann, TASK, "model", None, ModelFacts("By name"), name, **given)


def refused(board, ann, name) -> str:
    with pytest.raises(InputError) as caught:
        sent(board, ann, name)
    with board.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Submission)) == 0
    return str(caught.value)


def test_a_model_of_the_hub_is_fetched_as_a_stranger_and_kept(board, ann, server):
    submission = sent(board, ann, "me/model")  # in a process of its own
    names = {path.rpartition("/")[2] for path, _ in server.asked}
    assert {"README.md", "model.json", "model.safetensors"} < names
    assert not names & {"evil.py", "pytorch_model.bin"}
    assert {token for _, token in server.asked} == {None}, "what only the server's owner may have isn't fetched"
    with board.database.reading() as session:
        row = session.get_one(Submission, submission)
        assert (row.file_name, row.payload) == (f"me/model@{server.commit[:7]}", f"models/{submission}.zip")
    with zipfile.ZipFile(board.database.record.get(row.payload)) as packed:  # what is scored is what was fetched
        assert sorted(packed.namelist()) == ["README.md", "config.json", "model.json", "model.safetensors"]
        assert packed.read("model.safetensors") == server.files["model.safetensors"]


@pytest.mark.usefixtures("in_this_process")
def test_a_model_that_comes_along_is_run_by_its_name(board, ann):
    submission = sent(board, ann, "centres:general")
    with board.database.reading() as session:
        row = session.get_one(Submission, submission)
        assert (row.file_name, row.payload) == ("centres:general", f"models/{submission}.json")
    assert scoring.score(board, submission)
    with board.database.reading() as session:
        assert session.get_one(Submission, submission).state == "scored"
        assert session.scalars(select(Scoring)).first().row["family"] == "centres"


@pytest.mark.usefixtures("in_this_process")
def test_names_that_are_no_models_are_refused(board, ann, server, tmp_path):
    for name, told in (
        ("/etc", "neither a model that comes with glioma_hf nor USER/NAME on the Hub"),
        ("../saved", "neither a model that comes"),
        (str(tmp_path / "saved"), "neither a model that comes"),
        ("centres:/etc", "neither a model that comes"),
        ("sam:me/model", "neither a model that comes"),
        ("", "give a file, or the model's name"),
        ("a b", "give a file, or the model's name"),
    ):
        assert told in refused(board, ann, name), name
    info = json.loads(server.files["model.json"])
    server.sizes["model.safetensors"] = 2**40
    assert refused(board, ann, "me/model").startswith("me/model: model.safetensors holds 1099511627776 bytes")
    server.sizes.clear()
    server.commits += 1
    server.files["model.safetensors"] = pickle.dumps("not weights")
    assert "me/model: model.safetensors isn't safetensors" in refused(board, ann, "me/model")
    server.files["model.json"] = json.dumps(info | {"base": "/etc"}).encode()
    server.commits += 1
    assert "me/model: its base '/etc' is none of" in refused(board, ann, "me/model")
    server.files["model.json"] = json.dumps(info).encode()
    del server.files["config.json"]
    server.commits += 1
    assert (
        refused(board, ann, "me/model")
        == "me/model: no saved model lies there (config.json is missing); make one by train"
    )
    del server.files["model.json"]
    server.commits += 1
    assert "no model that glioma-hf train saved lies there on the Hub" in refused(board, ann, "me/other")
    with pytest.raises(InputError, match="a file is missing: results are sent as"):
        submit(board, ann, TASK, "results", None, ModelFacts("By name"), "me/model")
