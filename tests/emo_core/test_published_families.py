"""Whole films of the published families, from picture and sound, as their own programs make them.

Everything is read from the kits' raw inputs; what upstream computes on the way is compared, too.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from parity_kit import CHECKPOINTS, Kit, kit
from safetensors.torch import save_file
from torch import Tensor, nn

from emo_core import sampler
from emo_core.audio.load import load_audio_encoder
from emo_core.audio.waveform import Waveform
from emo_core.checkpoints.load import load_networks, load_vae
from emo_core.config import DiffusionConfig
from emo_core.face.crop import FaceCrop
from emo_core.face.key_points import key_points_for_film
from emo_core.face.placement import Frame, placement_of_drawing, placement_of_landmarks
from emo_core.models.backbone import Weights
from emo_core.pipeline import AnimateSettings, Animator
from emo_core.sampling.schedule import make_scheduler
from emo_core.sampling.window_plan import plan_windows


def difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


class KitVAE(nn.Module):
    """Hallo's kit has a linear stand-in: one value per 8 x 8 block and channel."""

    def __init__(self, values: dict) -> None:
        super().__init__()
        self.scale = values["scaling"]
        self.to_latents = torch.tensor(values["encode"])
        self.to_pixels = torch.tensor(values["decode"])

    def encode(self, images_NHWC: Tensor) -> Tensor:
        blocks = nn.functional.avg_pool2d(images_NHWC.movedim(-1, 1) * 2 - 1, 8)
        return torch.einsum("oc,nchw->nohw", self.to_latents, blocks) * self.scale

    def decode(self, latents_NChw: Tensor) -> Tensor:
        pixels = torch.einsum("oc,nchw->nhwo", self.to_pixels, latents_NChw / self.scale)
        pixels = pixels.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
        return (pixels / 2 + 0.5).clamp(0, 1)


@pytest.fixture
def kit_noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Tensor]], None]:
    """Have the sampler draw a kit's noise, clip by clip (frames, 4, h, w)."""

    def use(clips: list[Tensor]) -> None:
        class Noise:
            def __init__(self, seed: int, *, clip_frames: int, overlap: int, shape: tuple) -> None:
                assert overlap == 0
                assert all(clip.shape == (clip_frames, *shape) for clip in clips)

            def clip(self, index: int) -> Tensor:
                return clips[index]

        monkeypatch.setattr(sampler, "FilmNoise", Noise)

    return use


def steps_of(seen: list[Tensor]) -> Callable[[int, int, Tensor], None]:
    return lambda clip, step, latents: seen.append(latents)


def test_hallos_schedule() -> None:
    """DDIM's steps go to the timestep 1000 // steps before, not to the next that is listed."""
    found = kit("hallo")
    expected, steps = found.expected, found.config["steps"]
    scheduler = make_scheduler(DiffusionConfig(beta_schedule="linear"), solver="ddim")
    scheduler.set_timesteps(steps)
    assert torch.equal(scheduler.timesteps, expected["scheduler.timesteps"])
    assert difference(scheduler.alphas_cumprod, expected["scheduler.alphas_cumprod"]) < 1e-6
    # What a step makes of a sample without noise, in which v is -x0, says where it went to.
    for t, before, alpha_before in zip(
        scheduler.timesteps,
        expected["scheduler.previous_timesteps"],
        expected["scheduler.alphas_previous"],
        strict=True,
    ):
        assert int(before) == int(t) - 1000 // steps
        alpha = scheduler.alphas_cumprod[t]
        clean = torch.ones(1, 1, 1, 1)
        sample, v = alpha.sqrt() * clean, -(1 - alpha).sqrt() * clean
        after = scheduler.step(v, t, sample).prev_sample
        assert float(after) == pytest.approx(float(alpha_before.sqrt()), abs=1e-5)


def hallo(found: Kit, folder: Path) -> Animator:
    """The kit's checkpoint with the kit's sizes."""
    found.save(folder, *CHECKPOINTS["hallo"])
    networks, options = load_networks(folder), found.config
    sampling = dataclasses.replace(
        networks.config.sampling,
        width=options["size"],
        height=options["size"],
        clip_frames=options["clip_frames"],
        steps=options["steps"],
    )
    config = dataclasses.replace(networks.config, sampling=sampling)
    networks = dataclasses.replace(networks, config=config)
    save_file(found.files["wav2vec2"], folder / "wav2vec2.safetensors")
    encoder = load_audio_encoder(folder / "wav2vec2.safetensors")
    return Animator(networks, KitVAE(options["vae"]), encoder)


def test_hallo(tmp_path: Path, kit_noise: Callable[[list[Tensor]], None]) -> None:
    found = kit("hallo")
    expected, inputs = found.expected, found.inputs
    animator = hallo(found, tmp_path)
    settings = AnimateSettings(weights=Weights(areas=tuple(found.config["motion_scale"])))
    sound = Waveform(inputs["audio.waveform"][None], 16000)
    picture = inputs["image.source"].float() / 255
    size = found.config["size"]
    height, width = picture.shape[:2]
    shown = Frame(x0=0, y0=0, x1=width, y1=height, film_width=size, film_height=size)
    film = animator.film(
        picture,
        sound,
        settings=settings,
        face=placement_of_landmarks(inputs["landmarks.a"], shown, mask_HW=torch.ones(size, size)),
        identity_E=inputs["identity.embedding"],
        is_stretched=True,
    )
    assert film.num_frames == int(expected["audio.lengths"][1])
    assert difference(film.still_region()[0, 0] * 255, expected["mask.a.locator_image"]) < 1e-4
    assert difference(film.rows_RLD, expected["audio.hidden"]) < 1e-4

    kit_noise([clip.transpose(0, 1) for clip in inputs["loop.noise"]])
    steps: list[Tensor] = []
    motions = []
    net, read = animator.networks.reference_net, animator.networks.reference_net.read_motion

    def listening(latents: Tensor, **context: object) -> object:
        motions.append(torch.cat([film.reference.latents_1CHW, latents]))
        return read(latents, **context)

    net.read_motion = listening
    clips = list(animator.sample(film, settings=settings, on_step=steps_of(steps)))
    for ours, theirs, tolerance in zip(
        clips, expected["loop.latents"], (1e-3, 5e-3, 1e-2), strict=True
    ):
        assert difference(ours, theirs.transpose(0, 1)[: len(ours)]) < tolerance
    first = torch.stack(steps[: found.config["steps"]]).transpose(1, 2)
    assert difference(first, expected["loop.first_clip_steps"]) < 1e-3
    assert difference(torch.stack(motions), expected["loop.reference_latents"]) < 1e-2
    net.read_motion = read

    kit_noise([clip.transpose(0, 1) for clip in inputs["loop.noise"]])
    video = torch.cat(list(animator.animate(film, settings=settings)))
    assert difference(video[:, ::8, ::8].movedim(-1, 0), expected["loop.video"]) < 1e-2


def test_hallo_with_features_in_half_precision(
    tmp_path: Path, kit_noise: Callable[[list[Tensor]], None]
) -> None:
    """Upstream as it is: reference and motion features pass through float16."""
    found = kit("hallo")
    animator = hallo(found, tmp_path)
    net = animator.networks.reference_net
    plain = net.forward

    def rounded(latents: Tensor, **context: object) -> dict[str, Tensor]:
        return {name: value.half().float() for name, value in plain(latents, **context).items()}

    net.forward = rounded
    settings = AnimateSettings(weights=Weights(areas=tuple(found.config["motion_scale"])))
    picture = found.inputs["image.source"].float() / 255
    shown = Frame(x0=0, y0=0, x1=200, y1=240, film_width=128, film_height=128)
    film = animator.film(
        picture,
        Waveform(found.inputs["audio.waveform"][None], 16000),
        settings=settings,
        face=placement_of_landmarks(
            found.inputs["landmarks.a"], shown, mask_HW=torch.ones(128, 128)
        ),
        identity_E=found.inputs["identity.embedding"],
        is_stretched=True,
    )
    kit_noise([clip.transpose(0, 1) for clip in found.inputs["loop.noise"]])
    clips = animator.sample(film, settings=settings)
    for ours, theirs in zip(clips, found.expected["half_bank.loop.latents"], strict=True):
        assert difference(ours, theirs.transpose(0, 1)[: len(ours)]) < 5e-2


def windowed(found: Kit, name: str, encoder_file: str, folder: Path) -> Animator:
    """The kit's checkpoint, VAE and audio encoder, with the kit's sizes and steps."""
    found.save(folder, *CHECKPOINTS[name])
    networks, options = load_networks(folder / CHECKPOINTS[name][0]), found.config
    sampling = dataclasses.replace(
        networks.config.sampling,
        width=options["width"],
        height=options["height"],
        steps=options["num_inference_steps"],
    )
    networks = dataclasses.replace(
        networks, config=dataclasses.replace(networks.config, sampling=sampling)
    )
    save_file(
        found.files["sd-vae-ft-mse/diffusion_pytorch_model.safetensors"], folder / "v.safetensors"
    )
    vae = load_vae(folder / "v.safetensors", scale=networks.config.latent_scale)
    tensors = found.files[encoder_file]
    if encoder_file.endswith(".pt"):
        path = folder / "encoder.pt"
        torch.save({"dims": options["whisper_dims"], "model_state_dict": tensors}, path)
    else:
        path = folder / "encoder.safetensors"
        save_file(tensors, path)
    return Animator(networks, vae, load_audio_encoder(path))


def check_schedule(found: Kit, animator: Animator) -> None:
    scheduler = make_scheduler(animator.networks.config.diffusion, solver="ddim")
    steps = found.config["num_inference_steps"]
    scheduler.set_timesteps(steps)
    assert torch.equal(scheduler.timesteps, found.expected["loop_timesteps"])
    assert difference(scheduler.alphas_cumprod, found.expected["alphas_cumprod"]) < 1e-6


def check_loop(found: Kit, animator: Animator, film: object, *, tolerance: float) -> None:
    expected, settings, steps = found.expected, AnimateSettings(), []
    clips = list(animator.sample(film, settings=settings, on_step=steps_of(steps)))
    assert (
        difference(torch.stack(steps).transpose(1, 2), expected["loop_latents_steps"]) < tolerance
    )
    final = expected["loop_latents_final"][0].transpose(0, 1)
    assert difference(torch.cat(clips), final[: film.num_frames]) < tolerance


def test_echomimic(tmp_path: Path, kit_noise: Callable[[list[Tensor]], None]) -> None:
    found = kit("echomimic")
    expected, inputs = found.expected, found.inputs
    animator = windowed(found, "echomimic", "whisper_tiny.pt", tmp_path)
    check_schedule(found, animator)
    for step in range(found.config["num_inference_steps"]):
        sampling = animator.networks.config.sampling
        windows = plan_windows(
            found.config["frames"],
            length=sampling.clip_frames,
            config=sampling.windows,
            step_index=step,
        )
        assert windows == expected["loop_windows"][step].tolist()
    picture = inputs["source_image_rgb"].float() / 255
    size = found.config["width"]
    crop = FaceCrop.of(picture, face=inputs["face_box_xyxy"].tolist(), width=size, height=size)
    mask = crop.mask(crop.face_mask())
    # Resizers differ by up to one grey level; here upstream's picture and mask go on.
    portrait = expected["face_image_rgb"].float() / 255
    assert difference(crop.portrait(picture) * 255, portrait * 255) < 1.0
    assert difference(mask * 255, expected["face_mask_u8"].float()) < 1.0
    face = placement_of_drawing(mask, mask_HW=expected["face_mask_u8"].float() / 255)
    sound = Waveform(inputs["audio_waveform_i16"][None].float() / 32768, 16000)
    film = animator.film(portrait, sound, settings=AnimateSettings(), face=face)
    assert film.num_sampled_frames == found.config["frames"] > film.num_frames
    assert difference(film.reference.latents_1CHW, expected["ref_latents"]) < 1e-4
    assert difference(film.rows_RLD, expected["audio_features"]) < 1e-4

    kit_noise([inputs["loop_noise"][0].transpose(0, 1)])
    limit = animator.networks.config.sampling.noise_limit
    assert (
        difference(sampler.limited(inputs["loop_noise"], limit), expected["loop_latents_init"])
        == 0.0
    )
    predictions: list[Tensor] = []
    scheduler_step = sampler.make_scheduler

    def listening(*args: object, **options: object) -> object:
        scheduler = scheduler_step(*args, **options)
        step = scheduler.step

        def keep(prediction: Tensor, *rest: object) -> object:
            predictions.append(prediction)
            return step(prediction, *rest)

        scheduler.step = keep
        return scheduler

    sampler.make_scheduler = listening
    try:
        check_loop(found, animator, film, tolerance=3e-4)
    finally:
        sampler.make_scheduler = scheduler_step
    assert difference(predictions[0].transpose(0, 1)[None], expected["loop_first_pred"]) < 3e-4
    kit_noise([inputs["loop_noise"][0].transpose(0, 1)])
    video = torch.cat(list(animator.animate(film, settings=AnimateSettings())))
    stored = [f for f in found.config["video_frames_stored"] if f < film.num_frames]
    assert len(video) == film.num_frames and len(stored) >= 2
    assert difference(video[stored].movedim(-1, 1), expected["video_frames"][: len(stored)]) < 1e-3


def test_echomimic_with_features_in_half_precision(
    tmp_path: Path, kit_noise: Callable[[list[Tensor]], None]
) -> None:
    found = kit("echomimic")
    animator = windowed(found, "echomimic", "whisper_tiny.pt", tmp_path)
    net = animator.networks.reference_net
    plain = net.forward
    net.forward = lambda latents, **context: {
        name: value.half().float() for name, value in plain(latents, **context).items()
    }
    mask = found.expected["face_mask_u8"].float() / 255
    film = animator.film(
        found.expected["face_image_rgb"].float() / 255,
        Waveform(found.inputs["audio_waveform_i16"][None].float() / 32768, 16000),
        settings=AnimateSettings(),
        face=placement_of_drawing(mask, mask_HW=mask),
    )
    kit_noise([found.inputs["loop_noise"][0].transpose(0, 1)])
    latents = torch.cat(list(animator.sample(film, settings=AnimateSettings())))
    theirs = found.expected["loop_latents_final_bank_fp16"][0].transpose(0, 1)
    assert difference(latents, theirs[: len(latents)]) < 2e-3


def test_v_express(tmp_path: Path, kit_noise: Callable[[list[Tensor]], None]) -> None:
    found = kit("vexpress")
    expected, inputs = found.expected, found.inputs
    animator = windowed(found, "vexpress", "wav2vec2-base-960h/model.safetensors", tmp_path)
    check_schedule(found, animator)
    sampling = animator.networks.config.sampling
    windows = plan_windows(
        found.config["frames"], length=sampling.clip_frames, config=sampling.windows
    )
    assert windows == expected["loop_windows"].tolist()
    picture = inputs["reference_image_rgb"].float() / 255
    height, width = picture.shape[:2]
    sound = Waveform(inputs["audio_waveform_i16"][None].float() / 32768, 16000)
    length = animator.length(sound, AnimateSettings())
    assert length.num_frames == found.config["frames"]
    assert length.fps == pytest.approx(float(expected["output_fps"]), abs=1e-9)
    points = key_points_for_film(
        inputs["reference_kps"],
        strategy=found.config["retarget_strategy"],
        driving_M32=inputs["kps_sequence"],
        num_frames=length.num_frames,
    )
    whole = torch.ones(height, width)
    face = dataclasses.replace(
        placement_of_drawing(whole, mask_HW=whole), driving_points_F32=points
    )
    film = animator.film(picture, sound, settings=AnimateSettings(), face=face)
    assert difference(film.reference.latents_1CHW, expected["ref_latents"]) < 1e-4
    assert difference(film.rows_RLD[:, 0], expected["audio_interpolated"]) < 1e-4
    frames = tuple(expected["frames_stored"].tolist())
    drawn = film.moving_region(frames)[0].movedim(1, -1) * 255
    assert difference(drawn, expected["kps_images"].float()) == 0.0

    kit_noise([inputs["loop_noise"][0].transpose(0, 1)])
    check_loop(found, animator, film, tolerance=3e-4)
    kit_noise([inputs["loop_noise"][0].transpose(0, 1)])
    plain = [
        animator.vae.decode(latents)
        for latents in animator.sample(film, settings=AnimateSettings())
    ]
    stored = found.config["video_frames_stored"]
    assert difference(torch.cat(plain)[stored].movedim(-1, 1), expected["video_frames"]) < 1e-3
    kit_noise([inputs["loop_noise"][0].transpose(0, 1)])
    smooth = torch.cat(list(animator.animate(film, settings=AnimateSettings())))
    assert smooth.shape == torch.cat(plain).shape
    assert (smooth - torch.cat(plain)).abs().max() > 1e-3
