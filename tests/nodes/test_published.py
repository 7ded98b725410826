"""The published families through the nodes: the same films as the headless loop's, and errors."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from graph import Graph, sample
from parity_kit import CHECKPOINTS, kit
from safetensors.torch import save_file

from emo_core.audio.waveform import Waveform
from emo_core.face.placement import placement_of_drawing
from emo_core.pipeline import AnimateSettings, Animator
from emo_core.video.images import Fit

NAMES = ("hallo", "echomimic", "vexpress")
SIDE = 64
STEPS = 3
SECONDS = {"hallo": 0.8, "echomimic": 0.9, "vexpress": 1.7}
"""Two clips; three windows, the last round the end; two windows."""
VAE_FILE = "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"


class Loaded:
    """A kit's files on disk, and their networks as nodes and command line load them."""

    def __init__(self, pack: object, name: str, folder: Path) -> None:
        from emo_pack.nodes.loading import load_emo, load_encoder

        self.name, self.folder = name, folder
        found = kit(name)
        found.save(folder, *CHECKPOINTS[name])
        self.main = folder / CHECKPOINTS[name][0]
        self.vae_file = folder / "vae.safetensors"
        # Hallo's kit has no VAE of its own.
        tensors = found.files.get(VAE_FILE, kit("vexpress").files[VAE_FILE])
        save_file(tensors, self.vae_file)
        self.encoder_file = folder / "encoder.pt"
        if name == "echomimic":
            whisper = {"dims": {}, "model_state_dict": found.files["whisper_tiny.pt"]}
            torch.save(whisper, self.encoder_file)
        else:
            key = next(key for key in found.files if key.startswith("wav2vec2"))
            torch.save(found.files[key], self.encoder_file)
        self.animator = Animator.load(
            self.main, self.vae_file, audio_encoder=self.encoder_file, device=torch.device("cpu")
        )
        with torch.inference_mode():
            loaded = load_emo(self.main, dtype=torch.float32)
            # ComfyUI knows Stable Diffusion's VAE by its full widths only: the headless one serves.
            self.vae = SimpleNamespace(
                latent_dim=2,
                latent_channels=4,
                spacial_compression_encode=lambda: 8,
                encode=lambda pixels: self.animator.vae.encode(pixels) / self.animator.vae.scale,
                decode=lambda latents: self.animator.vae.decode(latents * self.animator.vae.scale),
                patcher=None,
            )
            self.graph = Graph(pack, loaded.model, loaded.reference_net, self.vae, None, None)
            encode = self.graph.node("ReferenceEncode").execute
            arguments = (loaded.reference_net, self.vae, portrait()[None], SIDE, SIDE, "center")
            self.graph.reference = encode(*arguments).args[0]
            listen = self.graph.node("AudioEncode").execute
            self.graph.audio = listen(
                loaded.model, voice(name), 0.0, audio_encoder=load_encoder(self.encoder_file)
            ).args[0]


def portrait() -> torch.Tensor:
    return torch.rand(80, 80, 3, generator=torch.Generator().manual_seed(3))


def voice(name: str) -> dict:
    count = round(SECONDS[name] * 16000)
    samples = 0.2 * torch.randn(1, 1, count, generator=torch.Generator().manual_seed(4))
    return {"waveform": samples, "sample_rate": 16000}


@pytest.fixture(scope="module", params=NAMES)
def loaded(request, pack, tmp_path_factory) -> Loaded:
    return Loaded(pack, request.param, tmp_path_factory.mktemp(request.param))


def headless(loaded: Loaded, **changes) -> torch.Tensor:
    settings = AnimateSettings(width=SIDE, height=SIDE, steps=STEPS, seed=5, **changes)
    film = loaded.animator.film(
        portrait(), Waveform(voice(loaded.name)["waveform"][0], 16000), settings=settings
    )
    return torch.cat(list(loaded.animator.sample(film, settings=settings)))


def test_headless_and_comfyui_give_the_same_latents(loaded: Loaded) -> None:
    made = loaded.graph.film(steps=STEPS, guidance=0.0)
    wanted = headless(loaded) / loaded.animator.networks.config.latent_scale
    assert made.shape == wanted.shape
    assert len(made) > loaded.animator.networks.config.sampling.clip_frames
    assert (made - wanted).abs().max() < 1e-3 * wanted.std()


def test_the_one_node_takes_everything_from_the_checkpoint(loaded: Loaded) -> None:
    with torch.inference_mode():
        made = loaded.graph.node("Sampler").execute(
            seed=5,
            steps=STEPS,
            guidance=0.0,
            sampler_name="auto",
            scheduler="auto",
            **loaded.graph.film_inputs(),
        )
    latent = made.args[0]
    assert torch.equal(latent["samples"], loaded.graph.film(steps=STEPS, guidance=0.0))
    assert latent.get("emo_median", False) is (loaded.name == "vexpress")
    assert latent["emo_fps"] == loaded.graph.audio.length.fps


def test_any_sampler_and_ksampler_run(loaded: Loaded) -> None:
    import comfy.sample
    import comfy.samplers

    guider, latent = loaded.graph.guider(guidance=0.0)
    sigmas = comfy.samplers.calculate_sigmas(
        loaded.graph.model.get_model_object("model_sampling"), "simple", 3
    )
    euler = comfy.samplers.sampler_object("euler")
    assert torch.isfinite(sample(guider, latent, euler, sigmas)).all()
    positive, negative, empty = loaded.graph.conditioning()
    noise = comfy.sample.prepare_noise(empty["samples"], 5)
    with torch.inference_mode():
        made = comfy.sample.sample(
            loaded.graph.model,
            noise,
            3,
            2.0,
            "euler",
            "simple",
            positive,
            negative,
            empty["samples"],
            seed=5,
            disable_pbar=True,
        )
    assert made.shape == empty["samples"].shape
    assert torch.isfinite(made).all() and made.std() > 0


def test_weights_of_areas_reach_the_model(loaded: Loaded) -> None:
    drawn = torch.zeros(80, 80)
    drawn[8:66, 12:62] = 1.0
    face_region = loaded.graph.node("FaceRegion").execute(
        loaded.graph.reference, 0.0, 0, mask=drawn[None]
    )
    plain = face_region.args[0]
    louder = loaded.graph.node("AudioWeights").execute(plain, 0.5, 1.0, 1.5).args[0]
    films = [
        loaded.graph.film(steps=STEPS, guidance=0.0, face_region=region)
        for region in (plain, louder)
    ]
    assert (films[0] - films[1]).abs().max() > 1e-3
    settings = {"weights": dataclasses.replace(AnimateSettings().weights, areas=(0.5, 1.0, 1.5))}
    chosen = AnimateSettings(width=SIDE, height=SIDE, steps=STEPS, seed=5, **settings)
    mask = Fit.of(portrait(), width=SIDE, height=SIDE).mask(drawn)
    film = loaded.animator.film(
        portrait(),
        Waveform(voice(loaded.name)["waveform"][0], 16000),
        settings=chosen,
        face=placement_of_drawing(mask, mask_HW=mask),
    )
    wanted = torch.cat(list(loaded.animator.sample(film, settings=chosen)))
    wanted = wanted / loaded.animator.networks.config.latent_scale
    assert (films[1] - wanted).abs().max() < 1e-3 * wanted.std()


def test_conditions_that_a_family_lacks_are_refused(loaded: Loaded) -> None:
    speed = loaded.graph.node("HeadSpeed").execute(12.0, 25.0, 1.0, 0.2).args[0]
    with pytest.raises(ValueError, match=f"of family {family(loaded)}, has no speed layers"):
        loaded.graph.guider(head_speed=speed)
    encode = loaded.graph.node("ReferenceEncode").execute
    found = SimpleNamespace(bbox=(10, 10, 60, 60), embedding=np.ones(512, np.float32))
    small = SimpleNamespace(bbox=(0, 0, 5, 5), embedding=np.zeros(512, np.float32))
    analysis = SimpleNamespace(get=lambda picture: [small, found])
    arguments = (loaded.graph.reference_net, loaded.vae, portrait()[None], SIDE, SIDE, "stretch")
    if loaded.name != "hallo":
        with pytest.raises(ValueError, match="know no identity. Disconnect it"):
            encode(*arguments, face_analysis=analysis)
        return
    with torch.inference_mode():
        known = encode(*arguments, face_analysis=analysis).args[0].reading
        unknown = encode(*arguments).args[0].reading
        tokens = loaded.animator.networks.reference_net.identity_tokens(
            torch.ones(512), like=torch.empty(0)
        )
    assert torch.allclose(known.identity_2TD, tokens, atol=1e-5)
    assert torch.equal(unknown.identity_2TD[0], unknown.identity_2TD[1])
    narrow = SimpleNamespace(
        get=lambda picture: [SimpleNamespace(bbox=(0, 0, 5, 5), embedding=[1])]
    )
    with pytest.raises(ValueError, match="1 numbers per face; this checkpoint reads 512"):
        encode(*arguments, face_analysis=narrow)


def test_key_points_of_a_driving_video(loaded: Loaded) -> None:
    """V-Express' eyes and nose move; other families say that they read none."""
    random = np.random.default_rng(0)
    still = random.random((478, 2)).astype(np.float32) * 80
    faces = [{"landmarks_xy": still + frame, "bbox_xyxy": (0, 0, 80, 80)} for frame in range(9)]
    driving = {"frames": [[face] for face in faces], "image_size": (80, 80)}
    # In one frame no face is found.
    driving["frames"][3] = []
    portrait_only = {"frames": [[faces[0]]], "image_size": (80, 80)}
    region = loaded.graph.node("FaceRegion").execute(
        loaded.graph.reference, 0.1, 0, landmarks=portrait_only
    )
    execute = loaded.graph.node("KeyPoints").execute
    moved = execute(region.args[0], loaded.graph.audio, driving, "naive_retarget").args[0]
    if loaded.name != "vexpress":
        with pytest.raises(ValueError, match=f"family {family(loaded)} read none. Leave"):
            loaded.graph.guider(face_region=moved)
        return
    points = moved.placement.key_points_F32
    assert len(points) == loaded.graph.audio.length.num_sampled_frames
    assert torch.allclose(points[0], region.args[0].placement.key_points_F32[0], atol=1e-3)
    assert (points[-1] - points[0]).abs().min() > 1.0
    films = [
        loaded.graph.film(steps=1, guidance=0.0, face_region=wire)
        for wire in (region.args[0], moved)
    ]
    assert (films[0] - films[1]).abs().max() > 1e-4
    with pytest.raises(ValueError, match="no face in 2 frames of the driving video"):
        execute(region.args[0], loaded.graph.audio, {**driving, "frames": [[], []]}, "no_retarget")


def test_a_cropped_face_is_echomimics_crop(loaded: Loaded) -> None:
    if loaded.name != "echomimic":
        pytest.skip("the same node for every family")
    found = kit("echomimic")
    picture = found.inputs["source_image_rgb"].float()[None] / 255
    x0, y0, x1, y1 = found.inputs["face_box_xyxy"].tolist()
    box = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
    crop = loaded.graph.node("CropFace").execute
    image, mask = crop(picture, 128, 128, 0.5, 0.1, boxes=[[box]]).args
    theirs = found.expected["face_image_rgb"].float()[None] / 255
    assert (image - theirs).abs().max() < 1 / 255
    assert (mask[0] - found.expected["face_mask_u8"].float() / 255).abs().max() < 1 / 255
    for inputs, message in (
        ({}, "expected a face, either as boxes or as landmarks"),
        ({"boxes": []}, "no face was found"),
    ):
        with pytest.raises(ValueError, match=message):
            crop(picture, 128, 128, 0.5, 0.1, **inputs)
    with pytest.raises(ValueError, match="a batch of 2 images"):
        crop(picture.repeat(2, 1, 1, 1), 128, 128, 0.5, 0.1, boxes=box)


def test_a_lora_as_a_hook_reaches_its_own_half_of_guidance(loaded: Loaded) -> None:
    """Also where every window is projected anew."""
    import comfy.hooks
    import comfy.sample

    torch.manual_seed(1)
    lora = {}
    for key, value in loaded.graph.model.model.diffusion_model.state_dict().items():
        if key.endswith(("attn2.to_v.weight", "attn2_0.to_v.weight")):
            name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            lora[f"{name}.lora_down.weight"] = torch.randn(2, value.shape[1])
            lora[f"{name}.lora_up.weight"] = torch.randn(value.shape[0], 2)
            lora[f"{name}.alpha"] = torch.tensor(2.0)
    assert lora

    def run(*, positive_hook: bool, negative_hook: bool) -> torch.Tensor:
        positive, negative, latent = loaded.graph.conditioning()
        for entry, is_hooked in ((positive, positive_hook), (negative, negative_hook)):
            if is_hooked:
                entry[0][1]["hooks"] = comfy.hooks.create_hook_lora(lora, 1.0, 0.0)
        noise = comfy.sample.prepare_noise(latent["samples"], 5)
        arguments = (noise, 2, 2.0, "euler", "simple", positive, negative, latent["samples"])
        with torch.inference_mode():
            return comfy.sample.sample(loaded.graph.model, *arguments, seed=5, disable_pbar=True)

    plain = run(positive_hook=False, negative_hook=False)
    by_positive = run(positive_hook=True, negative_hook=False)
    by_negative = run(positive_hook=False, negative_hook=True)
    assert len(plain) > loaded.animator.networks.config.sampling.clip_frames or (
        loaded.name == "hallo"
    )
    assert (by_positive - plain).abs().max() > 1e-2
    if loaded.name != "hallo":
        # Keys and values of a dropped context are not asked for.
        assert (by_negative - plain).abs().max() < 1e-4


def test_windows_longer_than_the_film(loaded: Loaded) -> None:
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    settings = ("standard_static", 1, False, "flat", 0, False)
    frames = loaded.graph.audio.length.num_sampled_frames
    wide = ContextWindowsManualNode.execute(
        loaded.graph.model, frames + 10, 0, *settings, causal_window_fix=False
    ).args[0]
    if frames <= 30:  # What the temporal modules have positions for.
        assert torch.isfinite(loaded.graph.film(model=wide, steps=1, guidance=0.0)).all()


def test_a_handler_keeps_no_model(loaded: Loaded) -> None:
    if loaded.name == "hallo":
        pytest.skip("samples clip after clip")
    handler = loaded.graph.model.model_options["context_handler"]
    loaded.graph.film(steps=1, guidance=0.0)
    assert handler._model is None


def test_previous_clips_lead_only_where_there_are_motion_frames(loaded: Loaded) -> None:
    sampled = {"samples": torch.zeros(4, *loaded.graph.film(steps=1, guidance=1.0).shape[1:])}
    if loaded.name == "hallo":
        positive, negative, _ = loaded.graph.conditioning(first_frame=4, previous=sampled)
        clip = positive[0][1]["emo_clip"]
        name = next(iter(clip.motion.known))
        assert len(clip.motion.known[name]) == 2
        assert (clip.motion.known[name] - clip.motion.unknown[name]).shape[0] == 2
        return
    with pytest.raises(ValueError, match="have no motion frames and sample all frames together"):
        loaded.graph.conditioning(previous=sampled)


def test_everything_but_named_parameters_sits_in_layers_of_comfyui(loaded: Loaded) -> None:
    from emo_pack.nodes.loading import _bare_parameters, load_emo

    named = {"audio_projection.latents", "audio_projection.pos_emb.weight"}
    found = _bare_parameters(loaded.graph.model.model)
    assert found == (named if loaded.name == "vexpress" else set())
    assert not _bare_parameters(loaded.graph.reference_net.patcher.model)
    model = load_emo(loaded.main, dtype=torch.float8_e4m3fn).model.model
    state = model.diffusion_model.state_dict()
    assert all(state[name].dtype == torch.float16 for name in found)
    assert state["conv_in.weight"].dtype == torch.float8_e4m3fn


def test_detections_of_another_form_or_picture_are_refused(loaded: Loaded) -> None:
    place = loaded.graph.node("FaceRegion").execute
    face = {"landmarks_xy": np.zeros((478, 2), np.float32), "bbox_xyxy": (1, 2, 30, 40)}
    other = {"frames": [[face]], "image_size": (160, 160)}
    for inputs, message in (
        ({"landmarks": other}, "landmarks are of a picture of 160x160, the portrait is 80x80"),
        ({"boxes": "face"}, "'face' is no box"),
        ({"boxes": [[10, 10, 40, 40]]}, "10 is no box"),
        ({"boxes": {"x": 1}}, "is no box"),
        ({"boxes": {"x": 1, "y": 1, "width": float("nan"), "height": 2}}, "is no box"),
    ):
        with pytest.raises(ValueError, match=message):
            place(loaded.graph.reference, 0.1, 0, **inputs)


def family(loaded: Loaded) -> str:
    return loaded.animator.networks.config.family


def test_another_familys_audio_encoder_is_explained(loaded: Loaded, pack, tmp_path) -> None:
    from emo_pack.nodes.loading import load_encoder

    other = "echomimic" if loaded.name != "echomimic" else "vexpress"
    if other == "echomimic":
        tensors = {"dims": {}, "model_state_dict": kit(other).files["whisper_tiny.pt"]}
    else:
        tensors = kit(other).files["wav2vec2-base-960h/model.safetensors"]
    torch.save(tensors, tmp_path / "other.pt")
    wire = load_encoder(tmp_path / "other.pt")
    listen = loaded.graph.node("AudioEncode").execute
    with pytest.raises(ValueError, match="load the one that the checkpoint's page names"):
        listen(loaded.graph.model, voice(loaded.name), 0.0, audio_encoder=wire)
    with pytest.raises(ValueError, match="brings no audio encoder"):
        listen(loaded.graph.model, voice(loaded.name), 0.0)


def test_windows_of_the_user_replace_the_familys(loaded: Loaded) -> None:
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    if loaded.name == "hallo":
        pytest.skip("samples clip after clip")
    settings = ("standard_static", 1, False, "flat", 0, False)
    other = ContextWindowsManualNode.execute(
        loaded.graph.model, 8, 2, *settings, causal_window_fix=False
    ).args[0]
    made = loaded.graph.film(model=other, steps=STEPS, guidance=0.0)
    assert (made - loaded.graph.film(steps=STEPS, guidance=0.0)).abs().max() > 1e-2
