"""Colours of people, clothes and rooms, and how light and shadow change them.

A colour is a string such as "#e8b08c". Shadows turn warm on skin and slightly cool elsewhere, as
illustrators paint them; plain darkening would look grey.
"""

from functools import lru_cache

SKIN = (
    "#fbe0cf", "#f6d2ba", "#f2c4a2", "#ecb48d", "#e3a478", "#d59566",
    "#c58352", "#ae6f42", "#945a35", "#7b482b", "#633a25", "#4d2d20",
)  # fmt: skip
HAIR = (
    "#1d1a1f", "#2a211f", "#3b2a22", "#533526", "#6f4529", "#8d5a32",
    "#b07a3f", "#cfa05a", "#e6c885", "#9c4424", "#c0592b", "#742f2a",
)  # fmt: skip
GREY_HAIR = ("#8f8d8f", "#b5b3b3", "#d8d5d1", "#6f6d70")
DYED_HAIR = ("#c9567f", "#5a6fc0", "#3f9b93", "#8456a8", "#e08a9b")
EYES = ("#4a2f20", "#5f3d24", "#7a5530", "#6d7a3a", "#4f8060", "#3f7fa6", "#5c8fc4", "#6e7b86")
CLOTH = (
    "#2f3e5c", "#c8553d", "#3a7d6b", "#e0a84a", "#7a4a6d", "#f0e6d6", "#454750", "#9bb7c9",
    "#b23a48", "#5b7553", "#d98f8a", "#27323a", "#e9c7a4", "#4d6fa8", "#8a6a4f", "#dfe4ea",
)  # fmt: skip
BACKGROUND = (
    "#f3d9b8", "#cfe0dc", "#e7c3b0", "#b9cbe0", "#d9d3ea", "#f0cfcf", "#9fbfb4", "#e9e4d4",
    "#86a3bd", "#c79a83", "#4f6379", "#6d5a72", "#3d5a5c", "#a7b58b", "#e6b765", "#7c8fa8",
)  # fmt: skip


def channels(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of "#rrggbb"."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def from_channels(red: float, green: float, blue: float) -> str:
    """The colour of channel values, rounded and limited to 0..255."""
    limited = (min(255, max(0, round(channel))) for channel in (red, green, blue))
    return "#" + "".join(f"{channel:02x}" for channel in limited)


@lru_cache(maxsize=4096)
def mix(color: str, other: str, share: float) -> str:
    """Blend; share 0 gives the first colour, 1 the other."""
    pairs = zip(channels(color), channels(other), strict=True)
    return from_channels(*(a + (b - a) * share for a, b in pairs))


@lru_cache(maxsize=4096)
def skin_shadow(color: str, depth: float) -> str:
    """Skin turned from the light; depth 0..1, redder as it darkens."""
    red, green, blue = channels(color)
    return from_channels(
        red * (1 - 0.34 * depth), green * (1 - 0.52 * depth), blue * (1 - 0.5 * depth)
    )


@lru_cache(maxsize=4096)
def shadow(color: str, depth: float) -> str:
    """Hair, cloth or wall turned from the light; depth 0..1, slightly bluer as it darkens."""
    red, green, blue = channels(color)
    return from_channels(
        red * (1 - 0.62 * depth), green * (1 - 0.6 * depth), blue * (1 - 0.5 * depth)
    )


@lru_cache(maxsize=4096)
def light(color: str, strength: float) -> str:
    """A surface turned to a warm light; strength 0..1, taken back on dark surfaces."""
    return mix(color, "#fff0da", strength * (0.35 + 0.65 * luminance(color)))


def luminance(color: str) -> float:
    """Perceived brightness, 0..1."""
    red, green, blue = channels(color)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255.0
