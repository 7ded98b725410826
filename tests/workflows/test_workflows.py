"""Shipped workflows are whole, without asking a ComfyUI: ids, sockets, links, pictures."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = json.loads((ROOT / "tests" / "nodes" / "node_contract.json").read_text())
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NAMES = [path.stem for path in WORKFLOWS]
FILM_NODES = ("EMO_ClipStitcher", "EMO_ClipsEnd", "SaveVideo")
FILM_NODE_HEIGHT = 600
"""What the stitcher has in the front end with text and player."""
TITLE_HEIGHT = 30


@pytest.fixture(params=WORKFLOWS, ids=NAMES)
def workflow(request) -> dict:
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_the_folder_is_flat_and_every_workflow_has_a_picture():
    assert WORKFLOWS
    for path in (ROOT / "workflows").iterdir():
        assert path.suffix in (".json", ".jpg"), path
    for path in WORKFLOWS:
        assert path.with_suffix(".jpg").is_file(), path


def test_nodes_of_the_pack_are_known_with_all_their_sockets(workflow):
    for node in workflow["nodes"]:
        if not node["type"].startswith("EMO_"):
            continue
        known = CONTRACT[node["type"]]
        for socket in node["inputs"]:
            assert socket["name"].split(".")[0] in known["inputs"], node["type"]
        kinds = [socket["type"] for socket in node["outputs"]]
        assert kinds == known["outputs"], node["type"]


def test_no_film_covers_another_node(workflow):
    """A node that writes a film grows by a player, and the stitcher's text, when it has run."""
    for node in workflow["nodes"]:
        if node["type"] not in FILM_NODES:
            continue
        x, y = node["pos"]
        width, height = node["size"]
        for other in workflow["nodes"]:
            left, top = other["pos"]
            is_beside = left >= x + width or left + other["size"][0] <= x
            is_below = top - TITLE_HEIGHT >= y + max(height, FILM_NODE_HEIGHT)
            assert other is node or is_beside or top < y or is_below, (node["type"], other["type"])


def test_every_link_joins_existing_sockets(workflow):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, source_slot, target, target_slot, _ in workflow["links"]:
        assert number in (nodes[source]["outputs"][source_slot]["links"] or [])
        assert nodes[target]["inputs"][target_slot]["link"] == number


def test_required_inputs_are_connected(workflow):
    for node in workflow["nodes"]:
        known = CONTRACT.get(node["type"], {"inputs": {}})["inputs"]
        for socket in node.get("inputs", []):
            kind = known.get(socket["name"])
            if kind and not kind["optional"] and "widget" not in socket:
                assert socket["link"] is not None, f"{node['type']}.{socket['name']}"


PUBLISHED = ("hallo", "echomimic", "v_express")
LOADERS = ("EMO_LoadModel", "EMO_LoadAudioEncoder", "VAELoader", "LoadMediaPipeFaceLandmarker")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_model_that_is_not_bundled_has_a_link(name):
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    loaders = [node for node in workflow["nodes"] if node["type"] in LOADERS]
    assert {node["type"] for node in loaders} == set(LOADERS)
    for node in loaders:
        models = node["properties"]["models"]
        assert node["widgets_values"][0] == models[0]["name"], node["type"]
        for model in models:
            assert set(model) == {"name", "url", "directory"}
            assert model["url"].startswith("https://huggingface.co/"), model
        folders = {model["directory"] for model in models}
        assert len(folders) == 1 and folders < {"emo", "audio_encoders", "vae", "detection"}
