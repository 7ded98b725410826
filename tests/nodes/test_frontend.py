"""The pack in ComfyUI's real front end: templates open whole and run, help shows, no errors."""

import json
import shutil
from pathlib import Path

import av
import pytest
from comfy_server import install
from comfyui import ROOT
from conftest import save_voice
from published import FOLDERS, SIDE, install_published, made_small

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
PUBLISHED = set(FOLDERS.values())
READY = "() => !!(window.app?.extensionManager && LiteGraph.registered_node_types.EMO_LoadModel)"
OPEN = """async workflow => {
    await app.loadGraphData(workflow, true, true, null);
    return app.graph._nodes.map(node => ({
        type: node.type,
        isKnown: node.type in LiteGraph.registered_node_types || node.type.endsWith("Note"),
        hasErrors: !!node.has_errors,
        missing: (node.widgets ?? []).filter(widget => {
            const values = widget.options?.values;
            return Array.isArray(values) && values.length && !values.includes(widget.value);
        }).map(widget => widget.name),
    }));
}"""
KNOWN_NOISE = (
    "user.css",
    "userdata",
    "comfy.templates",
    "accessed before initialization",
    "404",
    "Content Security Policy",
)
"""Messages that the front end prints without any pack."""
SECONDS = 0.4


@pytest.fixture(scope="module")
def page(server, toy, tmp_path_factory):
    install_published(server.base / "models", toy)
    voice = tmp_path_factory.mktemp("voice") / "short.wav"
    save_voice(voice, seconds=SECONDS)
    install(server, "input", voice)
    base = f"http://{server.address}"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync"],
        )
        page = browser.new_context(viewport={"width": 1600, "height": 900}).new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and page.errors.append(m.text))
        local = (base, "data:", "blob:")
        page.route(
            "**/*",
            lambda route: (
                route.continue_() if route.request.url.startswith(local) else route.abort()
            ),
        )
        page.request.post(f"{base}/api/settings", data={"Comfy.TutorialCompleted": True})
        page.goto(base, wait_until="domcontentloaded")
        page.wait_for_function(READY, timeout=180_000)
        yield page
        browser.close()


def opened(page, path: Path) -> list[dict]:
    return page.evaluate(OPEN, json.loads(path.read_text(encoding="utf-8")))


def short_prompt(page) -> dict:
    """The open workflow as a prompt, with a short voice and two steps to save time."""
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    prompt["short"] = {"class_type": "LoadAudio", "inputs": {"audio": "short.wav"}}
    demo = next(key for key, node in prompt.items() if node["class_type"] == "EMO_DemoInputs")
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == demo and value[1] > 0:
                node["inputs"][name] = ["short", 0]
            if name == "steps":
                node["inputs"][name] = 2
        if node["class_type"] == "EMO_Retake":
            node["inputs"] |= {"start": 0.08, "end": 0.2}
    return prompt


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_template_opens_whole_and_its_film_plays(server, page, path):
    if not (ROOT / "emo_core" / "assets" / "emo" / "emo_demo.safetensors").exists():
        pytest.skip("the demo checkpoint is not here")
    for node in opened(page, path):
        assert node["isKnown"], node
        assert not node["hasErrors"] and not node["missing"], node
    prompt, is_published = short_prompt(page), path.stem in PUBLISHED
    run = server.run(made_small(prompt) if is_published else prompt)
    assert run.status == "success", run.error
    saved = [shown for output in run.outputs.values() for shown in output.get("images", [])]
    films = [shown for shown in saved if shown["filename"].endswith(".mp4")]
    film = next(shown for shown in films if shown["type"] == "output")
    with av.open(str(server.base / "output" / film["subfolder"] / film["filename"])) as container:
        video = container.streams.video[0]
        # V-Express would stretch its 30 frames per second, but for less than a window.
        fps = {"echomimic": 24, "v_express": 30}.get(path.stem, 25)
        assert sum(1 for _ in container.decode(video)) == round(SECONDS * fps)
        assert container.streams.audio
    scale = 2 if "upscale" in path.stem else 1
    width = 160 if "wide" in path.stem else 128
    size = (SIDE, SIDE) if is_published else (width * scale, 128 * scale)
    assert (video.width, video.height) == size


def test_missing_models_are_offered(server, page):
    """With none of their files there, the front end lists them, with links where it may."""
    for name, missing in (("hallo", "net.pth"), ("v_express", "denoising_unet.bin")):
        workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
        for node in workflow["nodes"]:
            for model in node["properties"].get("models", []):
                model["name"] = f"absent_{model['name']}"
            values = node.get("widgets_values")
            if node["properties"].get("models"):
                node["widgets_values"] = [f"absent_{values[0]}", *values[1:]]
                node.pop("widgets_values_named", None)
        page.evaluate(OPEN, workflow)
        page.get_by_text("View details").last.click()
        page.get_by_text("Missing Models").last.wait_for(timeout=20_000)
        shown = page.inner_text("body")
        assert f"absent_{name}/{missing}" in shown
        assert "absent_mediapipe_face_fp32.safetensors" in shown
        assert page.get_by_text("Download", exact=True).count() >= 3


def test_inputs_that_are_not_connected_stay_empty(page):
    """The front end fills sockets of some core types with a widget's value unless told not to."""
    opened(page, ROOT / "workflows" / "talk.json")
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    assert "curve" not in nodes["EMO_HeadSpeed"]
    assert "boxes" not in nodes["EMO_FaceRegion"]


def test_the_stitcher_of_an_old_workflow_has_its_values_and_grows_sounds(page):
    """Saved before there were cross-fades and sounds of clips."""
    opened(page, ROOT / "workflows" / "talk.json")
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    stitcher = next(n["inputs"] for n in prompt.values() if n["class_type"] == "EMO_ClipStitcher")
    assert (stitcher["fps"], stitcher["crf"], stitcher["smoothing"]) == (0, 18, "auto")
    assert (stitcher["crossfade"], stitcher["match_strength"]) == (0, 1)
    assert not [name for name in stitcher if name.startswith("audios")]
    assert "match_to" not in stitcher
    page.evaluate("""() => {
        const find = type => app.graph._nodes.find(node => node.type === type);
        const stitcher = find("EMO_ClipStitcher");
        const slot = name => stitcher.inputs.findIndex(input => input.name === name);
        stitcher.disconnectInput(slot("audio"));
        for (const name of ["audios.audio_0", "audios.audio_1"])
            find("EMO_DemoInputs").connect(1, stitcher, slot(name));
    }""")
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    stitcher = next(n["inputs"] for n in prompt.values() if n["class_type"] == "EMO_ClipStitcher")
    assert [name for name in stitcher if name.startswith("audio")] == [
        "audios.audio_0",
        "audios.audio_1",
    ]
    assert "latents.latent_0" in stitcher


def test_every_node_has_a_help_page(server, page):
    for name in server.get("/object_info"):
        if name.startswith("EMO_"):
            answer = page.request.get(f"http://{server.address}/extensions/emo/docs/{name}.md")
            assert answer.ok and answer.text().startswith("# "), name


def test_help_shows_in_the_panel(page):
    opened(page, ROOT / "workflows" / "talk.json")
    page.evaluate("""async () => {
        const node = app.graph._nodes.find(node => node.type === "EMO_Sampler");
        app.canvas.selectNode(node);
        const pinia = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia;
        pinia._s.get("rightSidePanel").openPanel("info");
    }""")
    page.get_by_text("When it goes wrong").first.wait_for(timeout=20_000)


def test_the_console_stays_quiet(page):
    ours = [text for text in page.errors if not any(noise in text for noise in KNOWN_NOISE)]
    assert not ours
