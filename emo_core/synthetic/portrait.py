"""A drawn person as numbers and names, and how people are drawn by chance.

The identities of the three splits cannot meet. Every combination of drawing style, face shape and
hair style belongs to exactly one split, by a hash of the three names, so a person seen in
validation differs from every training person in at least one of these, whatever the other
numbers are. Within a split the random generator is seeded from (split, index).
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from ..errors import InputError
from . import colors

SPLITS = ("train", "validation", "test")

STYLES = ("soft", "flat", "ink", "anime", "painterly")

# width, jaw, chin, length: half widths relative to the cheekbones, length of the lower face
FACE_SHAPES: dict[str, tuple[float, float, float, float]] = {
    "oval": (0.98, 0.74, 0.24, 1.02),
    "round": (1.06, 0.80, 0.29, 0.93),
    "square": (1.00, 0.83, 0.31, 0.99),
    "heart": (1.00, 0.68, 0.19, 0.98),
    "long": (0.94, 0.77, 0.28, 1.08),
    "diamond": (0.96, 0.71, 0.24, 1.02),
}

HAIR_STYLES = (
    "bald", "balding", "buzz", "crop", "side_part", "quiff", "slick", "curly", "afro", "pixie",
    "bob", "fringe_bob", "long_straight", "long_wavy", "curtain", "bun", "ponytail", "braids",
    "hijab", "beanie",
)  # fmt: skip
SHORT_HAIR = frozenset(
    ("bald", "balding", "buzz", "crop", "side_part", "quiff", "slick", "beanie", "curly", "afro")
)
LONG_HAIR = frozenset(
    ("bob", "fringe_bob", "long_straight", "long_wavy", "curtain", "bun", "braids", "hijab")
)


@dataclass(frozen=True)
class Portrait:
    """All that `drawing.draw` needs to know of a person; the pose and the mouth are not in it."""

    style: str
    """One of STYLES."""
    face_shape: str
    """One of FACE_SHAPES."""
    hair_style: str
    """One of HAIR_STYLES."""
    age: str
    """"child", "young", "adult" or "senior"."""
    face_width: float
    """Factors near 1 on the face shape, as are the next three."""
    jaw_width: float
    chin_width: float
    face_length: float
    face_fraction: float
    """Chin to hairline of the frontal, resting face, in fractions of the picture height."""
    center_x: float
    """Where the middle of the face stands, in fractions of the picture."""
    center_y: float
    """Height of the eyes, in fractions of the picture."""
    light_side: int
    """-1: light from the left of the picture, 1: from the right."""
    skin: str
    hair: str
    iris: str
    lips: str
    blush: float
    """0..1."""
    freckles: int
    """How many; 0 for none."""
    wrinkles: float
    """0..1."""
    eye_size: float
    eye_spacing: float
    """Distance of an eye from the middle of the face, in head units."""
    eye_tilt: float
    """Outer corner raised, in head units."""
    lashes: float
    """0..1."""
    lid_color: str
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    nose_width: float
    nose_length: float
    mouth_width: float
    """Half width at rest, in head units."""
    lip_fullness: float
    ear_size: float
    hair_volume: float
    hair_part: float
    """-1..1: where the hair is parted, from the left of the picture to the right."""
    beard: str
    """"none", "stubble", "moustache", "goatee", "short" or "full"."""
    glasses: str
    """"none", "round", "square" or "thin"."""
    glasses_color: str
    earrings: str
    """"none", "stud", "hoop" or "drop"."""
    headwear_color: str
    clothes: str
    """"crew", "v_neck", "shirt", "blazer", "turtleneck", "hoodie" or "straps"."""
    cloth: str
    cloth_accent: str
    background: str
    """"plain", "gradient", "glow", "bokeh", "window", "blocks", "hills" or "strokes"."""
    background_color: str
    background_accent: str
    detail_seed: int
    """Places freckles, strands and background shapes."""


@lru_cache(maxsize=1)
def _combinations() -> dict[str, list[tuple[str, str, str]]]:
    """(style, face shape, hair style) of each split: about 70 %, 15 % and 15 % of them all."""
    owned: dict[str, list[tuple[str, str, str]]] = {split: [] for split in SPLITS}
    for combination in product(STYLES, FACE_SHAPES, HAIR_STYLES):
        owned[split_of(*combination)].append(combination)
    return owned


def split_of(style: str, face_shape: str, hair_style: str) -> str:
    """The only split that may hold this combination."""
    digest = hashlib.sha256(f"{style}/{face_shape}/{hair_style}".encode()).digest()
    if digest[0] < 179:
        return "train"
    return "validation" if digest[0] < 218 else "test"


def random_portrait(split: str, index: int) -> Portrait:
    """Draw a person by chance; the same split and index give the same person for ever.

    Args:
        split: one of SPLITS. A person of one split never equals a person of another: see the
            module's text.
        index: 0 or more.

    Raises:
        InputError: the split is unknown or the index is negative.
    """
    if split not in SPLITS or index < 0:
        raise InputError(
            f"Random portrait: split {split!r}, index {index}; expected a split of "
            f"{', '.join(SPLITS)} and an index of 0 or more. Correct the one that is off."
        )
    rng = np.random.default_rng([SPLITS.index(split), index, 20240217])
    combinations = _combinations()[split]
    style, face_shape, hair_style = combinations[rng.integers(len(combinations))]
    age = _pick(rng, {"child": 0.1, "young": 0.4, "adult": 0.33, "senior": 0.17})
    if hair_style in ("balding", "bald") and age in ("child", "young"):
        age = "adult"
    chance = 0.1 if hair_style in SHORT_HAIR else 0.97 if hair_style in LONG_HAIR else 0.5
    if hair_style in ("beanie", "curly", "afro"):
        chance = 0.45
    is_feminine = rng.random() < chance
    is_hair_light_allowed = rng.random() < 0.5
    skin = colors.SKIN[rng.integers(len(colors.SKIN))]
    skin = colors.mix(skin, colors.SKIN[rng.integers(len(colors.SKIN))], 0.12)
    background_color, background_accent = _two(rng, colors.BACKGROUND)
    cloth, cloth_accent = _two(rng, colors.CLOTH)
    return Portrait(
        style=style,
        face_shape=face_shape,
        hair_style=hair_style,
        age=age,
        face_width=rng.uniform(0.96, 1.04),
        jaw_width=rng.uniform(0.95, 1.04) * (0.96 if is_feminine else 1.04),
        chin_width=rng.uniform(0.85, 1.15) * (0.9 if is_feminine else 1.12),
        face_length=rng.uniform(0.97, 1.03) * (0.92 if age == "child" else 1.0),
        face_fraction=rng.uniform(0.52, 0.61),
        center_x=rng.uniform(0.475, 0.525),
        center_y=rng.uniform(0.45, 0.48),
        light_side=-1 if rng.random() < 0.6 else 1,
        skin=skin,
        hair=_hair_color(rng, skin=skin, age=age, is_light_allowed=is_hair_light_allowed),
        iris=colors.EYES[rng.integers(3 if colors.luminance(skin) < 0.5 else len(colors.EYES))],
        lips=_lip_color(rng, skin=skin, is_feminine=is_feminine and age != "child"),
        blush=rng.uniform(0.2, 1.0) * (1.0 if is_feminine or age == "child" else 0.6),
        freckles=int(rng.integers(14, 34)) if rng.random() < 0.16 else 0,
        wrinkles={"child": 0.0, "young": 0.0, "adult": 0.3, "senior": 1.0}[age],
        eye_size=rng.uniform(0.96, 1.14) * (1.05 if is_feminine else 0.96)
        * (1.14 if age == "child" else 1.0),
        eye_spacing=rng.uniform(0.365, 0.41),
        eye_tilt=rng.uniform(-0.02, 0.045),
        lashes=rng.uniform(0.55, 1.0) if is_feminine else rng.uniform(0.0, 0.25),
        lid_color=colors.CLOTH[rng.integers(len(colors.CLOTH))]
        if is_feminine and age != "child" and rng.random() < 0.3
        else colors.skin_shadow(skin, 0.35),
        brow_thickness=rng.uniform(0.75, 1.15) * (0.8 if is_feminine else 1.25),
        brow_arch=rng.uniform(0.3, 1.0) if is_feminine else rng.uniform(0.0, 0.6),
        brow_tilt=rng.uniform(-0.03, 0.03),
        nose_width=rng.uniform(0.8, 1.25) * (0.88 if is_feminine else 1.04),
        nose_length=rng.uniform(0.92, 1.1) * (0.85 if age == "child" else 1.0),
        mouth_width=rng.uniform(0.31, 0.39),
        lip_fullness=rng.uniform(0.75, 1.2) * (1.12 if is_feminine else 0.85),
        ear_size=rng.uniform(0.88, 1.12) * (1.12 if age == "senior" else 1.0),
        hair_volume=rng.uniform(0.75, 1.25),
        hair_part=rng.uniform(-0.75, 0.75),
        beard="none"
        if is_feminine or age == "child" or hair_style == "hijab"
        else _pick(
            rng,
            {
                "none": 0.4, "stubble": 0.16, "moustache": 0.1, "goatee": 0.09, "short": 0.14,
                "full": 0.11,
            },
        ),  # fmt: skip
        glasses=_pick(rng, {"none": 0.68, "round": 0.13, "square": 0.12, "thin": 0.07}),
        glasses_color=("#22242a", "#5a3a28", "#8b2f35", "#2f4a63", "#b08a3c")[rng.integers(5)],
        earrings=_pick(rng, {"none": 0.45, "stud": 0.2, "hoop": 0.2, "drop": 0.15})
        if is_feminine and age != "child"
        else "none",
        headwear_color=colors.CLOTH[rng.integers(len(colors.CLOTH))],
        clothes=_pick(
            rng,
            {
                "crew": 0.22, "v_neck": 0.14, "shirt": 0.18, "blazer": 0.14, "turtleneck": 0.12,
                "hoodie": 0.12, "straps": 0.08 if is_feminine and hair_style != "hijab" else 0.0,
            },
        ),  # fmt: skip
        cloth=cloth,
        cloth_accent=cloth_accent,
        background=_pick(
            rng,
            {
                "plain": 0.12, "gradient": 0.17, "glow": 0.17, "bokeh": 0.15, "window": 0.12,
                "blocks": 0.1, "hills": 0.08, "strokes": 0.09,
            },
        ),  # fmt: skip
        background_color=background_color,
        background_accent=background_accent,
        detail_seed=int(rng.integers(2**31)),
    )  # fmt: skip


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One name, with a chance proportional to its weight."""
    names = list(weights)
    chances = np.array(list(weights.values()))
    return names[rng.choice(len(names), p=chances / chances.sum())]


def _two(rng: np.random.Generator, palette: tuple[str, ...]) -> tuple[str, str]:
    """Two different colours of a palette."""
    first, second = rng.choice(len(palette), size=2, replace=False)
    return palette[first], palette[second]


def _hair_color(rng: np.random.Generator, *, skin: str, age: str, is_light_allowed: bool) -> str:
    """Natural for the skin most of the time; grey for many seniors; dyed now and then."""
    if age == "senior" and rng.random() < 0.75:
        return colors.GREY_HAIR[rng.integers(len(colors.GREY_HAIR))]
    if age == "young" and rng.random() < 0.12:
        return colors.DYED_HAIR[rng.integers(len(colors.DYED_HAIR))]
    is_dark_only = colors.luminance(skin) < 0.55 or not is_light_allowed
    return colors.HAIR[rng.integers(5 if is_dark_only else len(colors.HAIR))]


def _lip_color(rng: np.random.Generator, *, skin: str, is_feminine: bool) -> str:
    """Lips near the skin's own red, or painted."""
    natural = colors.mix(colors.skin_shadow(skin, 0.42), "#c2525a", 0.42)
    if is_feminine and rng.random() < 0.6:
        return ("#b8323f", "#c65062", "#9c2f45", "#cf6a5e", "#a8475f")[rng.integers(5)]
    return natural
