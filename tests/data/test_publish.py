"""Publishing: the tree that `--dry-run` writes, and the push against a local server that speaks as the Hub does."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from glioma_hf import InputError
from glioma_hf.data.prepared import PreparedSplit
from glioma_hf.data.publish import build_tree
from glioma_hf.data.sources import get_source
from glioma_hf.hub import push
from glioma_hf.models.saved import ModelFolder, TrainingScores
from tests.cli.test_cli import refused, run

REPO = "me/cells"


@pytest.fixture(scope="module")
def tree(folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tree") / "tree"
    done = run("data", "publish", folder, "--repo", REPO, "--dry-run", "--out", path)
    assert done.returncode == 0, done.stderr
    return path


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != ".glioma-hf")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def test_tree_holds_the_prepared_bytes_figures_and_a_card_that_shows_them(tree, folder):
    written, prepared = files(tree), files(folder)
    assert set(written) - set(prepared) == {f"figures/{n}.png" for n in ("preview", "areas", "shapes", "solidity")}
    for name in prepared:
        if name != "README.md":
            assert written[name] == prepared[name]
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", written["README.md"].decode(), re.DOTALL).groups()
    front = yaml.safe_load(front)
    assert {"pretty_name", "license", "task_categories", "tags", "size_categories", "configs", "dataset_info"} == set(
        front
    )
    assert [c["config_name"] for c in front["configs"]] == ["default", "spec", "gen"]
    for config in front["configs"]:
        for split in config["data_files"]:
            assert all(name in written for name in split["path"])
    assert f'load_dataset("{REPO}", "spec")  # train, validation, test' in body
    for picture in re.findall(r"\]\((.*?)\)", body):
        assert picture in written
    assert "*id" not in written["README.md"].decode().split("---")[1]


def test_preview_draws_the_polygons(tree, folder):
    import pyarrow.parquet as pq

    picture = np.asarray(Image.open(tree / "figures" / "preview.png")).astype(int)
    row = pq.read_table(folder / "data" / "spec-train-00000-of-00001.parquet").to_pylist()[0]
    assert picture.shape == (row["height"], row["width"], 3)
    coloured = np.ptp(picture, axis=2) > 40
    seen = []
    for item in row["objects"]:
        x, y = (int(v) for v in item["segmentation"][0][:2])
        seen.append(coloured[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].any())
    assert np.mean(seen) > 0.8  # a corner cut at the image's border may lie off the outline that is seen


def test_card_of_another_archive_claims_nothing(tree):
    card = (tree / "README.md").read_text()
    assert "# Data in the layout of Glioma C6" in card
    assert "**This is not Glioma C6**" in card
    assert "spec/train holds 2 images, published are 30" in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "other"


def test_counts_of_the_paper_make_it_glioma_c6():
    source = get_source("glioma_c6")
    counts = {"train": (30, 5387), "validation": (4, 738), "test": (11, 2035)}
    splits = [
        PreparedSplit("spec", k, [], n, {"cell_a": c - 7, "cell_b": 7, "soma": 9}) for k, (n, c) in counts.items()
    ]
    splits.append(PreparedSplit("gen", "test", [], 30, {"cell": 3868}))
    assert not source.is_other(splits)
    assert source.differences(splits) == []
    splits[-1].objects["cell"] += 1
    assert not source.is_other(splits)
    assert source.differences(splits) == ["gen/test holds 3869 cells, published are 3868"]
    assert source.is_other(splits[:3])


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's HTTP interface as a push of a data set asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "/tree/" in self.path:
            return self.answer(200, [self.entry(name) for name in sorted(self.server.files)])
        return self.answer(200, {"sha": "0" * 40, "siblings": [], "id": REPO})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.server.refuses:
            return self.answer(401, {"error": "Invalid credentials"})
        if self.path.endswith("/repos/create"):
            folder = "datasets/" if json.loads(body).get("type") == "dataset" else ""
            return self.answer(200, {"url": f"{self.server.url}/{folder}{REPO}"})
        if "/preupload/" in self.path:
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(("parquet", "safetensors")) else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": modes})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.server.url}/lfs/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        if "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    self.server.files[value["path"]] = self.server.lfs[value["oid"]]
                    self.server.large.add(value["path"])
            return self.answer(
                200,
                {
                    "commitUrl": f"{self.server.url}/datasets/{REPO}/commit/{'1' * 40}",
                    "commitOid": "1" * 40,
                    "hookOutput": "",
                },
            )
        return self.answer(200, {"warnings": [], "errors": []})

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.lfs[hashlib.sha256(data).hexdigest()] = data
        self.answer(200, {})

    def entry(self, name: str) -> dict:
        data = self.server.files[name]
        if name == self.server.spoils:
            data = data[:-1] + b"!"
        sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry = {"type": "file", "path": name, "size": len(data), "oid": sha1}
        if name in self.server.large:
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def answer(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    running.url = f"http://127.0.0.1:{running.server_port}"
    running.files, running.lfs, running.large, running.asked = {}, {}, set(), []
    running.refuses, running.spoils = False, ""
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()


def publish(server, folder: Path, *more: str, command: tuple[str, ...] = ("data", "publish")):
    """The command in a process of its own, as libraries read the Hub's address when they load."""
    pytest.importorskip("matplotlib")  # for the previews
    import subprocess
    import sys

    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [str(Path(sys.executable).parent / "glioma-hf"), *command, str(folder), "--repo", REPO, *more]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_what_is_pushed_is_what_the_dry_run_wrote(server, folder, tree):
    done = publish(server, folder)
    assert done.returncode == 0, done.stderr
    assert f"{server.url}/datasets/{REPO}" in done.stdout
    sent = dict(server.files)
    sent.pop(".gitattributes", None)
    assert sent == files(tree)
    assert {name for name in sent if name.endswith("parquet")} == server.large
    assert ("/api/repos/create", "Bearer hf_test") in server.asked


def test_an_adapter_is_pushed_as_a_model(server, tmp_path):
    pytest.importorskip("peft")
    from glioma_hf.models.sam.family import FAMILY
    from glioma_hf.models.sam.generate import SamSegmenter
    from glioma_hf.models.sam.lora import add_adapter
    from glioma_hf.models.sam.sam import new_model, small_config

    scores = TrainingScores(data="cells", training_images=["a.tif"], validation_images=["b.tif"], validation_ap50=0.25)
    segmenter = SamSegmenter(add_adapter(new_model(small_config(64, 32, 2, 2, 32))))
    ModelFolder(tmp_path).write(FAMILY, segmenter, "embedded", FAMILY.read_recipe(), scores)
    done = publish(server, tmp_path, command=("push",))
    assert done.returncode == 0, done.stderr
    assert f"{server.url}/{REPO}" in done.stdout
    assert "/datasets/" not in done.stdout
    assert server.files["adapter_model.safetensors"] == (tmp_path / "adapter_model.safetensors").read_bytes()
    card = server.files["README.md"].decode()
    assert f'load_segmenter("{REPO}")' in card
    assert yaml.safe_load(card.split("---")[1])["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.25


def test_a_file_that_arrives_changed_is_told(server, folder):
    server.spoils = "data/gen-test-00000-of-00001.parquet"
    done = publish(server, folder)
    assert done.returncode == 2
    assert f"{REPO}: {server.spoils} on the Hub isn't the file that was pushed" in done.stderr


def test_refusals_are_one_sentence(server, folder):
    server.refuses = True
    done = publish(server, folder)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"glioma-hf: {REPO}: the Hub refused (")
    assert "Traceback" not in done.stderr


def test_bad_arguments(folder, tmp_path):
    assert "isn't of the form USER/NAME" in refused("data", "publish", folder, "--repo", "cells")
    assert "give --dry-run and --out" in refused("data", "publish", folder, "--repo", REPO, "--dry-run")
    assert "give --dry-run and --out" in refused("data", "publish", folder, "--repo", REPO, "--out", tmp_path / "x")
    assert "no prepared data set" in refused("data", "publish", tmp_path, "--repo", REPO)
    assert "HF_HUB_OFFLINE is set" in refused("data", "publish", folder, "--repo", REPO)
    with pytest.raises(InputError, match="isn't of the form"):
        push(folder, [], "a b/c")


def test_a_folder_that_lost_a_file(folder, tmp_path):
    pytest.importorskip("matplotlib")  # for the previews
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "data" / "gen-test-00000-of-00001.parquet").unlink()
    (tmp_path / "tree").mkdir()
    with pytest.raises(InputError, match=r"gen-test-00000-of-00001\.parquet can't be read"):
        build_tree(broken, tmp_path / "tree")


def test_the_tree_opens_with_old_and_new_datasets(tree, tmp_path):
    import sys

    from tests.data.test_prepare import OLD
    from tests.data.test_prepare import run as opened

    new = opened(sys.executable, tree, tmp_path / "new")
    if not OLD.exists():
        pytest.skip("no environment with datasets 3.6: make setup builds it")
    assert opened(OLD, tree, tmp_path / "old") == new
