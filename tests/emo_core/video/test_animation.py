"""Moving pictures for web pages, as another program reads them."""

from pathlib import Path

import pytest
from PIL import Image

from emo_core.errors import InputError
from emo_core.video.animation import save_animation

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_pictures_times_and_origin(tmp_path: Path, fps: float) -> None:
    path = tmp_path / "films.webp"
    images = [Image.new("RGB", (64, 48), color) for color in COLORS]
    save_animation(images, path, fps=fps, comment="three colours")
    total_ms = 0
    with Image.open(path) as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (3, (64, 48), 0)
        for place, color in enumerate(COLORS):
            film.seek(place)
            found = film.convert("RGB").getpixel((32, 24))
            assert max(abs(a - b) for a, b in zip(found, color, strict=True)) < 12
            total_ms += film.info["duration"]
        assert b"three colours" in film.info["xmp"]
    assert total_ms == round(3000 / fps)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.webp"):
        save_animation([Image.new("RGB", (8, 8))], tmp_path / "film.gif", fps=25.0)
    assert not list(tmp_path.iterdir())
