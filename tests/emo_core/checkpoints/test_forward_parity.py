"""One forward of every family against what its own code computes from the same weights.

What a step reads goes through `Film` and `Clip`, as for users. Tolerances are the kits' own.
"""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from parity_kit import Kit, kit
from torch import Tensor

from emo_core.checkpoints.emo import Networks
from emo_core.config import ModelConfig
from emo_core.face.placement import FacePlacement, Frame
from emo_core.film import Clip, Film
from emo_core.models.backbone import Weights
from emo_core.models.reference import MotionReading, ReferenceReading

LIKE = torch.empty(0)


def difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


class Placement(FacePlacement):
    """A placement whose pictures are given instead of drawn."""

    def __init__(self, *, mask: Tensor, areas: list[Tensor] | None = None, **fields: object):
        height, width = mask.shape
        frame = Frame(x0=0, y0=0, x1=width, y1=height, film_width=width, film_height=height)
        super().__init__(
            mask_HW=mask, frame=frame, face=(1.0, 1.0, 9.0, 9.0), is_drawn=True, **fields
        )
        if areas is not None:
            self.__dict__["area_masks"] = torch.stack(areas)


def film_of(
    networks: Networks, reference: ReferenceReading, rows: Tensor, face: FacePlacement, **changes
) -> Film:
    height, width = face.mask_HW.shape
    return Film(
        **{
            "config": networks.config,
            "width": width,
            "height": height,
            "num_frames": len(rows),
            "num_sampled_frames": len(rows),
            "fps": networks.config.sampling.fps,
            "reference": reference,
            "rows_RLD": rows,
            "speed_deg_s_F": None,
            "face": face,
        }
        | changes
    )


@torch.no_grad()
def halves(networks: Networks, clip: Clip, latents: Tensor, timestep: int) -> list[Tensor]:
    """The predictions [unconditional, conditional] of latents (F, 4, h, w)."""
    answers = []
    for half in (clip.unconditional(), clip):
        shared = half.share(networks.backbone, like=LIKE)
        conditions = half.prepare(networks.backbone, shared, like=LIKE)
        answers.append(networks.backbone(latents, torch.tensor(timestep), conditions))
    return answers


class Outputs:
    """What modules of a network put out in its last runs, (F, C, h, w) each."""

    def __init__(self, network: torch.nn.Module, *names: str) -> None:
        self.seen: dict[str, list[Tensor]] = {name: [] for name in names}
        self.hooks = [
            network.get_submodule(name).register_forward_hook(self._keep(name)) for name in names
        ]

    def _keep(self, name: str) -> Callable:
        def keep(module: torch.nn.Module, inputs: tuple, output: object) -> None:
            self.seen[name].append(output[0] if isinstance(output, tuple) else output)

        return keep

    def halves(self, name: str) -> Tensor:
        """(2, C, F, h, w), as the kits have it."""
        return torch.stack(self.seen[name]).transpose(1, 2)

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()


def check_bank(
    features: dict[str, Tensor], expected: dict[str, Tensor], *, rows: list[int]
) -> None:
    names = [name for name in expected if name.startswith("bank.")]
    assert len(names) == len(features) == 16
    for name in names:
        ours, theirs = features[name.removeprefix("bank.")], expected[name][rows]
        assert difference(ours, theirs) < 1e-4, name


@pytest.fixture(scope="module")
def hallo(kit_networks: Callable[[str], Networks]) -> tuple[Kit, Networks]:
    return kit("hallo"), kit_networks("hallo")


def hallo_clip(found: Kit, networks: Networks) -> Clip:
    expected, inputs = found.expected, found.inputs
    latents = inputs["reference.latents"]
    net = networks.reference_net
    with torch.no_grad():
        reference = net.read_reference(latents[:1], embedding_E=inputs["identity.embedding"])
        motion = net.read_motion(latents[1:], identity_2TD=reference.identity_2TD)
    face = Placement(
        mask=expected["mask.a.locator_image"].float() / 255,
        areas=[expected[f"mask.a.{area}64"] for area in ("full", "face", "lip")],
    )
    film = film_of(
        networks,
        reference,
        expected["audio.hidden"],
        face,
        weights=Weights(areas=tuple(found.config["motion_scale"])),
    )
    return film.clip(range(found.config["clip_frames"]), motion=motion)


def test_hallo_identity_and_banks(hallo: tuple[Kit, Networks]) -> None:
    found, networks = hallo
    clip = hallo_clip(found, networks)
    reference, motion = clip.film.reference, clip.motion
    unknown, known = reference.identity_2TD
    assert difference(unknown, found.expected["identity.tokens_uncond"]) < 1e-4
    assert difference(known, found.expected["identity.tokens_cond"]) < 1e-4
    # Rows upstream: reference and two motion frames, of the unconditional half and of the other.
    check_bank(reference.features, found.expected, rows=[0, 3])
    check_bank(motion.unknown, found.expected, rows=[1, 2])
    check_bank(motion.known, found.expected, rows=[4, 5])


def test_hallo_locator_and_areas(hallo: tuple[Kit, Networks]) -> None:
    found, networks = hallo
    clip = hallo_clip(found, networks)
    with torch.no_grad():
        region = clip.share(networks.backbone, like=LIKE).region
    assert difference(region[0, 0], found.expected["locator.features"]) < 1e-5
    for level, areas in enumerate(clip.film.area_levels):
        theirs = [found.expected[f"mask.a.128.{area}.{level}"] for area in ("full", "face", "lip")]
        assert difference(areas.flatten(1), torch.cat(theirs)) == 0.0
    assert clip.unconditional().share(networks.backbone, like=LIKE).region is None


def test_hallo_forward(hallo: tuple[Kit, Networks]) -> None:
    found, networks = hallo
    clip, expected = hallo_clip(found, networks), found.expected
    first = "down_blocks.0"
    layers = [f"{first}.{n}.0" for n in ("resnets", "attentions", "audio_modules")]
    layers.append(f"{first}.motion_modules.0.temporal_transformer")
    outputs = Outputs(networks.backbone, *layers, first, "mid_block")
    latents = found.inputs["unet.noisy_latents"][0].transpose(0, 1)
    unconditional, conditional = halves(networks, clip, latents, found.config["timestep"])
    outputs.remove()
    for name in layers:
        theirs = expected[f"unet.{name.removesuffix('.temporal_transformer')}"]
        assert difference(outputs.halves(name)[..., ::2, ::2], theirs) < 5e-4, name
    for name in (first, "mid_block"):
        assert difference(outputs.halves(name), expected[f"unet.{name}"]) < 5e-4, name
    assert difference(unconditional.transpose(0, 1), expected["unet.v_uncond"]) < 1e-4
    assert difference(conditional.transpose(0, 1), expected["unet.v_cond"]) < 1e-4
    guided = unconditional + found.config["guidance"] * (conditional - unconditional)
    assert difference(guided.transpose(0, 1), expected["unet.v_guided"]) < 5e-4


def rounded(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.half().float() for name, value in features.items()}


def test_hallo_forward_with_features_in_half_precision(hallo: tuple[Kit, Networks]) -> None:
    """Upstream rounds reference and motion features to float16 even in a float32 run."""
    found, networks = hallo
    clip = hallo_clip(found, networks)
    reading = dataclasses.replace(
        clip.film.reference, features=rounded(clip.film.reference.features)
    )
    clip = dataclasses.replace(
        clip,
        film=dataclasses.replace(clip.film, reference=reading),
        motion=MotionReading(rounded(clip.motion.known), rounded(clip.motion.unknown)),
    )
    latents = found.inputs["unet.noisy_latents"][0].transpose(0, 1)
    unconditional, conditional = halves(networks, clip, latents, found.config["timestep"])
    guided = unconditional + found.config["guidance"] * (conditional - unconditional)
    theirs = found.expected["half_bank.unet.v_guided"]
    assert difference(guided.transpose(0, 1), theirs) < 2e-3


FORWARD = {"echomimic": "face_locator", "vexpress": "v_kps_guider"}


def windowed_clip(name: str, networks: Networks, found: Kit) -> Clip:
    """The clip of a kit's single forward, from its audio, reference latents and pictures."""
    expected, inputs = found.expected, found.inputs
    with torch.no_grad():
        reference = networks.reference_net.read_reference(expected["ref_latents"])
    if name == "echomimic":
        face = Placement(mask=expected["face_mask_u8"].float() / 255)
        rows = expected["audio_features"]
    else:
        height, width = inputs["reference_image_rgb"].shape[:2]
        face = Placement(
            mask=torch.ones(height, width), driving_points_F32=expected["kps.no_retarget"].float()
        )
        rows = expected["audio_interpolated"][:, None]
    film = film_of(
        networks, reference, rows, face, num_frames=found.config["frames"],
        num_sampled_frames=found.config["frames"],
    )  # fmt: skip
    frames = expected["fwd_frames"].tolist()
    return Clip(film=film, frames=tuple(frames), motion=None)


@pytest.mark.parametrize("name", FORWARD)
def test_windowed_families_banks_and_locators(
    name: str, kit_networks: Callable[[str], Networks]
) -> None:
    found, networks = kit(name), kit_networks(name)
    clip = windowed_clip(name, networks, found)
    check_bank(clip.film.reference.features, found.expected, rows=[0])
    with torch.no_grad():
        if name == "echomimic":
            region = clip.share(networks.backbone, like=LIKE).region
            assert difference(region[:, 0], found.expected["locator_out"][:, :, 0]) < 1e-4
        else:
            frames = tuple(found.expected["frames_stored"].tolist())
            stored = dataclasses.replace(clip, frames=frames)
            shared = stored.share(networks.backbone, like=LIKE)
            region = stored.prepare(networks.backbone, shared, like=LIKE).region
            theirs = found.expected["kps_features"]
            assert difference(region.transpose(1, 2), theirs) < 1e-4


@pytest.mark.parametrize("name", FORWARD)
def test_windowed_families_forward(name: str, kit_networks: Callable[[str], Networks]) -> None:
    found, networks = kit(name), kit_networks(name)
    clip, expected = windowed_clip(name, networks, found), found.expected
    outputs = Outputs(networks.backbone, "conv_in", "down_blocks.0", "mid_block")
    latents = found.inputs["fwd_latents"][0].transpose(0, 1)
    both = torch.stack(halves(networks, clip, latents, found.config["forward"]["timestep"]))
    outputs.remove()
    if name == "echomimic":
        assert difference(outputs.halves("conv_in"), expected["fwd_conv_in"]) < 1e-4
    assert difference(outputs.halves("down_blocks.0"), expected["fwd_down0"]) < 3e-4
    assert difference(outputs.halves("mid_block"), expected["fwd_mid"]) < 3e-4
    assert difference(both.transpose(1, 2), expected["fwd_v"]) < 1e-4
    assert difference(both[1:].transpose(1, 2), expected["fwd_v_nocfg"]) < 1e-4
    guided = both[0] + found.config["guidance_scale"] * (both[1] - both[0])
    assert difference(guided.transpose(0, 1)[None], expected["fwd_guided"]) < 1e-4


def test_echomimic_forward_with_features_in_half_precision(
    kit_networks: Callable[[str], Networks],
) -> None:
    found, networks = kit("echomimic"), kit_networks("echomimic")
    clip = windowed_clip("echomimic", networks, found)
    reading = dataclasses.replace(
        clip.film.reference, features=rounded(clip.film.reference.features)
    )
    clip = dataclasses.replace(clip, film=dataclasses.replace(clip.film, reference=reading))
    latents = found.inputs["fwd_latents"][0].transpose(0, 1)
    both = torch.stack(halves(networks, clip, latents, found.config["forward"]["timestep"]))
    assert difference(both.transpose(1, 2), found.expected["fwd_v_bank_fp16"]) < 1e-3


def test_configs_say_what_the_kits_say(kit_networks: Callable[[str], Networks]) -> None:
    configs: dict[str, ModelConfig] = {n: kit_networks(n).config for n in ("hallo", *FORWARD)}
    for name, config in configs.items():
        schedule = kit(name).config["scheduler"]
        ours = dataclasses.asdict(config.diffusion)
        same = set(ours) & set(schedule)
        assert len(same) == 6 and all(ours[key] == schedule[key] for key in same)
    express = kit("vexpress").config
    backbone = configs["vexpress"].backbone
    assert backbone.reference_scale == express["reference_attention_weight"]
    assert backbone.audio_scale == express["audio_attention_weight"]
    assert (
        configs["echomimic"].backbone.audio_scale == kit("echomimic").config["audio_feature_ratio"]
    )
    for name in FORWARD:
        sampling, theirs = configs[name].sampling, kit(name).config
        ours = (sampling.clip_frames, sampling.windows.overlap, sampling.guidance, sampling.fps)
        names = ("context_frames", "context_overlap", "guidance_scale", "fps")
        assert ours == tuple(theirs[key] for key in names)
