"""Saved workflows keep working: ids, inputs and outputs may be added to, never changed.

`node_contract.json` is what has been released. After adding to a node, write it and the English
texts anew:

    python tests/nodes/test_contract.py
"""

import json
from pathlib import Path

CONTRACT = Path(__file__).with_name("node_contract.json")
LANGUAGES = ("en", "zh", "ja", "ko", "de")


def described(pack) -> dict[str, dict]:
    """Every node's id with its inputs (name -> type) and its outputs (types, in order)."""
    found = {}
    for node in pack.NODES:
        schema = node.GET_SCHEMA()
        found[schema.node_id] = {
            "inputs": {
                item.id: {"type": item.get_io_type(), "optional": bool(item.optional)}
                for item in schema.inputs
            },
            "outputs": [item.get_io_type() for item in schema.outputs],
        }
    return found


def test_nothing_that_was_released_is_gone(pack):
    now = described(pack)
    for node_id, was in json.loads(CONTRACT.read_text()).items():
        assert node_id in now, f"{node_id} is gone"
        is_now = now[node_id]
        assert is_now["outputs"][: len(was["outputs"])] == was["outputs"], node_id
        for name, kind in was["inputs"].items():
            assert is_now["inputs"].get(name) == kind, f"{node_id}.{name}"
        added = set(is_now["inputs"]) - set(was["inputs"])
        assert all(is_now["inputs"][name]["optional"] for name in added), f"{node_id}: {added}"


def test_the_contract_is_complete(pack):
    """A node that is not written down could be changed unnoticed."""
    assert json.loads(CONTRACT.read_text()) == described(pack)


def test_every_input_says_what_it_does(pack):
    for node in pack.NODES:
        schema = node.GET_SCHEMA()
        assert schema.description, schema.node_id
        for item in schema.inputs:
            is_own_slot = item.get_io_type() == "COMFY_AUTOGROW_V3"
            assert item.tooltip or is_own_slot, f"{schema.node_id}.{item.id}"


def test_translations_cover_every_node_input_and_output(pack):
    wanted = {}
    for node in pack.NODES:
        schema = node.GET_SCHEMA()
        words = {"display_name", "description"}
        words |= {f"inputs.{item.id}.name" for item in schema.inputs}
        words |= {f"inputs.{item.id}.tooltip" for item in schema.inputs if item.tooltip}
        words |= {f"outputs.{index}.name" for index in range(len(schema.outputs))}
        wanted[schema.node_id] = words
    root = CONTRACT.parents[2]
    for language in LANGUAGES:
        path = root / "locales" / language / "nodeDefs.json"
        texts = json.loads(path.read_text(encoding="utf-8"))
        assert set(texts) == set(wanted), language
        for node_id, words in wanted.items():
            missing = words - set(_paths(texts[node_id]))
            assert not missing, f"{language} {node_id}: {missing}"


def test_english_is_what_the_nodes_say(pack):
    path = CONTRACT.parents[2] / "locales" / "en" / "nodeDefs.json"
    texts = json.loads(path.read_text(encoding="utf-8"))
    assert texts == {node.GET_SCHEMA().node_id: texts_of(node) for node in pack.NODES}


def texts_of(node) -> dict:
    """A node's texts in the layout of ComfyUI's locales."""
    schema = node.GET_SCHEMA()
    texts = {"display_name": schema.display_name, "description": schema.description}
    for kind, items in (("inputs", schema.inputs), ("outputs", schema.outputs)):
        for index, item in enumerate(items):
            own_name = item.id if kind == "inputs" else item.io_type
            words = {"name": item.display_name or own_name}
            if item.tooltip:
                words["tooltip"] = item.tooltip
            key = item.id if kind == "inputs" else str(index)
            texts.setdefault(kind, {})[key] = words
    return texts


def _paths(texts: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in texts.items():
        found += _paths(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found


if __name__ == "__main__":
    from comfyui import find_comfyui, load_pack

    load_pack(find_comfyui())
    from emo_pack import nodes

    CONTRACT.write_text(json.dumps(described(nodes), indent=1) + "\n")
    english = json.dumps({n.GET_SCHEMA().node_id: texts_of(n) for n in nodes.NODES}, indent=2)
    (CONTRACT.parents[2] / "locales" / "en" / "nodeDefs.json").write_text(english + "\n")
