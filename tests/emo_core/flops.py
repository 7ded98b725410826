"""What a step of each published family computes at 512 x 512, against what upstream's own does.

Floating-point operations, two for each multiplication with its addition, counted on networks of
full size without numbers. Upstream's figures were counted in the same way on its own models
(`FlopCounterMode`, one guided step of F frames). The difference is accounted for to the last
digit: `savings` says what is not computed here, and why. Operations are not seconds.

Letters: F frames of a step, L tokens of one image, C channels, c inner width of an audio module.
"""

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from full_size import meta_networks, save_family
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from emo_core.checkpoints.emo import Networks
from emo_core.checkpoints.families import open_checkpoint
from emo_core.face.placement import usual_placement
from emo_core.film import Clip, Film

SIZE = 512
LATENT_SIZE = SIZE // 8
LIKE = torch.empty(0, device="meta")
Counts = dict[str, int]
"""Name of a module -> operations inside it; "Global" has all."""


@dataclass(frozen=True)
class Upstream:
    """TFLOP of upstream's own models."""

    step: float
    """One guided step, both halves."""
    reference: float
    """Its ReferenceNet, each time it runs."""


UPSTREAM = {
    "hallo": Upstream(step=53.95, reference=4.78),
    "echomimic": Upstream(step=32.17, reference=0.77),
    "v_express": Upstream(step=61.32, reference=0.77),
}
ROUNDING = 0.01
"""TFLOP; the figures above have two digits, and so have sums of them."""


class Counter:
    """Counts what runs inside `with`."""

    def __enter__(self) -> "Counter":
        self._mode = FlopCounterMode(display=False)
        self._grad = torch.no_grad()
        self._grad.__enter__()
        self._mode.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._mode.__exit__(*error)
        self._grad.__exit__(*error)

    @property
    def by_module(self) -> Counts:
        return {
            name: sum(operations.values())
            for name, operations in self._mode.get_flop_counts().items()
        }

    @property
    def tflop(self) -> float:
        return self._mode.get_total_flops() / 1e12


@dataclass(frozen=True)
class Half:
    """What one half of guidance computes, in TFLOP."""

    share: float
    """Once per film."""
    prepare: float
    """Once per clip or window."""
    prepare_moving: float
    """The same where the face locator sees another drawing in every frame."""
    step: float
    modules: Counts
    """Of a step."""


@dataclass(frozen=True)
class Cost:
    """What a family computes."""

    networks: Networks
    reference_per_film: float
    """TFLOP of the ReferenceNet, as `motion_per_clip`."""
    motion_per_clip: float
    conditional: Half
    unconditional: Half

    @property
    def halves(self) -> tuple[Half, Half]:
        return self.conditional, self.unconditional

    @property
    def step(self) -> float:
        return sum(half.step for half in self.halves)

    @property
    def share(self) -> float:
        return sum(half.share for half in self.halves)

    @property
    def prepare(self) -> float:
        return sum(half.prepare for half in self.halves)

    @property
    def prepare_moving(self) -> float:
        return sum(half.prepare_moving for half in self.halves)

    @property
    def num_frames(self) -> int:
        """New frames of a step."""
        return self.networks.config.sampling.clip_frames


@cache
def cost_of(family: str) -> Cost:
    """Count a family's work as its command does it: through `Film` and `Clip`."""
    with TemporaryDirectory() as folder:
        save_family(family, Path(folder))
        networks = meta_networks(open_checkpoint(Path(folder)))
    config = networks.config
    latents = LIKE.new_empty(config.sampling.clip_frames, 4, LATENT_SIZE, LATENT_SIZE)
    identity = config.reference_net.identity
    embedding = None if identity is None else LIKE.new_empty(identity.embedding_dim)
    with Counter() as reference:
        reading = networks.reference_net.read_reference(latents[:1], embedding_E=embedding)
    motion, num_motion = None, config.backbone.temporal.num_motion_frames
    with Counter() as motion_counter:
        if num_motion:
            motion = networks.reference_net.read_motion(
                latents[:num_motion], identity_2TD=reading.identity_2TD
            )
    audio = config.backbone.audio
    film = Film(
        config=config,
        width=SIZE,
        height=SIZE,
        num_frames=len(latents),
        num_sampled_frames=len(latents),
        fps=config.sampling.fps,
        reference=reading,
        rows_RLD=torch.zeros(
            2 * audio.rows_per_frame * len(latents), audio.num_layers, audio.feature_dim
        ),
        speed_deg_s_F=None,
        face=usual_placement(width=SIZE, height=SIZE),
    )
    clip = film.clip(range(len(latents)), motion=motion)
    return Cost(
        networks=networks,
        reference_per_film=reference.tflop,
        motion_per_clip=motion_counter.tflop,
        conditional=count_half(networks, clip, latents),
        unconditional=count_half(networks, clip.unconditional(), latents),
    )


def count_half(networks: Networks, clip: Clip, latents: Tensor) -> Half:
    backbone, timestep = networks.backbone, torch.tensor(500, device="meta")
    with Counter() as share:
        shared = clip.share(backbone, like=LIKE)
    with Counter() as prepare:
        conditions = clip.prepare(backbone, shared, like=LIKE)
    with Counter() as prepare_moving:
        with_motion(clip).prepare(backbone, shared, like=LIKE)
    with Counter() as step:
        backbone(latents, timestep, conditions)
    return Half(
        share=share.tflop,
        prepare=prepare.tflop,
        prepare_moving=prepare_moving.tflop,
        step=step.tflop,
        modules=step.by_module,
    )


def with_motion(clip: Clip) -> Clip:
    """The same, its key points moving."""
    points = clip.film.face.key_points_F32.expand(clip.num_frames, -1, -1)
    face = dataclasses.replace(clip.film.face, driving_points_F32=points)
    return dataclasses.replace(clip, film=dataclasses.replace(clip.film, face=face))


def inside(counts: Counts, pattern: str) -> float:
    """TFLOP of the modules whose whole names fit a pattern; take care that none is in another."""
    return sum(value for name, value in counts.items() if re.search(f"{pattern}$", name)) / 1e12


def self_attention(half: Half, name: str) -> float:
    """TFLOP of all attentions of a name; their keys are projected outside their `forward`."""
    place = rf"\.attentions\.\d+\.transformer_blocks\.0\.{re.escape(name)}"
    return inside(half.modules, rf"{place}(\.to_k|\.to_v)?")


@dataclass(frozen=True)
class Layer:
    """The place of a spatial transformer."""

    tokens: int
    """L"""
    width: int
    """C"""
    audio_width: int
    """c; 0 without an audio module."""


def layers_of(networks: Networks) -> list[Layer]:
    levels = networks.backbone.levels()
    audio = {
        name: module.proj_in.out_channels for name, module in networks.backbone.audio_transformers()
    }
    return [
        Layer((LATENT_SIZE >> levels[name]) ** 2, module.norm.num_channels, audio.get(name, 0))
        for name, module in networks.backbone.spatial_transformers()
    ]


def projection(layer: Layer) -> int:
    """FLOP of a linear layer C -> C over one image."""
    return 2 * layer.tokens * layer.width**2


def attention(layer: Layer, num_keys: int) -> int:
    """FLOP of scores and sums of one image."""
    return 4 * layer.tokens * num_keys * layer.width


def savings(family: str) -> dict[str, float]:
    """What a guided step of upstream's computes and ours does not: why -> TFLOP."""
    cost = cost_of(family)
    F, layers = cost.num_frames, layers_of(cost.networks)
    config = cost.networks.config.backbone
    flop: dict[str, int] = {}
    if config.is_reference_joined:
        # Upstream has all 2F images read frame and reference, whose keys and values it projects
        # for every image, and then does the unconditional half again without the reference.
        flop["unconditional half attends once"] = F * sum(
            4 * projection(layer) + attention(layer, 2 * layer.tokens) for layer in layers
        )
        flop["reference projected once per film"] = (
            2 * F * sum(2 * projection(layer) for layer in layers)
        )
    else:
        flop["unconditional half reads no reference"] = F * sum(
            2 * projection(layer) + attention(layer, layer.tokens) for layer in layers
        )
        flop["reference projected once per film"] = (
            2 * F * sum(2 * projection(layer) for layer in layers)
        )
    tokens = config.audio.num_tokens
    if config.has_audio_modules:
        identity = cost.networks.config.reference_net.identity
        flop["identity projected once per clip"] = (
            2
            * F
            * sum(4 * identity.num_tokens * identity.token_dim * layer.width for layer in layers)
        )
        flop["audio projected once per clip"] = (
            2
            * F
            * sum(3 * 4 * tokens * config.audio.token_dim * layer.audio_width for layer in layers)
        )
        # Queries, outputs and the layers after them, of background, face and lips.
        flop["unconditional half hears a constant"] = F * sum(
            3 * (6 * layer.tokens * layer.audio_width**2)
            + 3 * (4 * layer.tokens * tokens * layer.audio_width)
            for layer in layers
        )
        # Upstream drops them after the module, here they go before its feed-forward; and they are
        # the same at every step where they come in.
        num_motion = config.temporal.num_motion_frames
        flop["motion frames enter once and leave early"] = (
            2 * num_motion * sum(14 * projection(layer) for layer in layers)
        )
    else:
        flop["audio projected once per clip"] = (
            2 * F * sum(4 * tokens * config.audio.token_dim * layer.width for layer in layers)
        )
        flop["unconditional half hears a constant"] = F * sum(
            2 * projection(layer) + attention(layer, tokens) for layer in layers
        )
    return {reason: value / 1e12 for reason, value in flop.items()}
