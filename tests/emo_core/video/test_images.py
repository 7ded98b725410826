"""Pictures of every kind become the same upright RGB, and bad files say what is wrong."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from emo_core.errors import InputError
from emo_core.video.images import Fit, read_image, read_mask

HALLO = Path(__file__).resolve().parents[2] / "parity" / "hallo"

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
"""32 x 64, dark on the left, bright on the right."""


def saved(tmp_path, picture, name="a.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def ramp_in(mode):
    if mode == "I;16":
        return Image.fromarray(RAMP.astype(np.uint16) * 257)
    if mode == "P":
        return Image.fromarray(RAMP).convert("P")
    return Image.fromarray(RAMP).convert("RGB").convert(mode)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGB", "a.png"),
        ("L", "a.png"),
        ("LA", "a.png"),
        ("RGBA", "a.webp"),
        ("P", "a.gif"),
        ("I;16", "a.png"),
        ("I;16", "a.tif"),
        ("CMYK", "a.tif"),
        ("RGB", "a.bmp"),
    ],
)
def test_every_kind_of_picture_reads_the_same(tmp_path, mode, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    image = read_image(saved(tmp_path, ramp_in(mode), name, **options))
    assert image.shape == (32, 64, 3)
    assert image.dtype == torch.float32
    assert (image - torch.from_numpy(RAMP / 255.0)[..., None]).abs().amax() < 1e-6


def test_transparency_shows_grey_in_a_picture_and_nothing_in_a_mask(tmp_path):
    layer = np.full((20, 20, 4), 255, np.uint8)
    layer[:, 10:, 3] = 0
    path = saved(tmp_path, Image.fromarray(layer))
    image = read_image(path)
    assert (image[:, :10] == 1.0).all()
    assert image[:, 10:].mean() == pytest.approx(128 / 255)
    mask = read_mask(path)
    assert (mask[:, :10] == 1.0).all()
    assert (mask[:, 10:] == 0.0).all()


def test_the_camera_s_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = read_image(saved(tmp_path, Image.fromarray(RAMP), "a.jpg", exif=exif))
    assert upright.shape == (64, 32, 3)
    assert upright[0].mean() < 0.05 < 0.95 < upright[-1].mean()


def png_claiming(width, height):
    """A small png whose header claims another size."""
    buffer = io.BytesIO()
    Image.new("L", (20, 20)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"certainly not a picture", "not a picture"),
        (png_claiming(10_001, 10_000), "10001 x 10000 pixels.*100 megapixels"),
        (png_claiming(60_000, 60_000), "100 megapixels"),
        (png_claiming(15, 400), "15 x 400 pixels.*at least 16"),
        (png_claiming(20, 20)[:45], "damaged"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_bad_files_are_named_and_explained(tmp_path, content, words, read):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_picture_cut_anywhere_is_read_or_refused_but_never_crashes(tmp_path, file_format):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, file_format)
    content, path = buffer.getvalue(), tmp_path / "a"
    num_refused = 0
    for length in range(1, len(content), len(content) // 40):
        path.write_bytes(content[:length])
        try:
            read_image(path)
        except InputError:
            num_refused += 1
    assert num_refused >= 20


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="it is a folder"):
        read_image(tmp_path)


def test_float_pictures_outside_their_range_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.float32)), "a.tif")
    with pytest.raises(InputError, match="from 0 to 252"):
        read_image(path)


def test_an_empty_mask_is_refused(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (20, 20)))
    with pytest.raises(InputError, match="black everywhere"):
        read_mask(path)


def disc(width, height, *, x, y, radius):
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((column - x) ** 2 + (row - y) ** 2 < radius**2).float()


@pytest.mark.parametrize(
    ("size", "width", "height", "center"),
    [
        ((400, 200), 100, 100, (50, 50)),
        ((200, 400), 100, 100, (50, 50)),
        ((60, 60), 240, 120, (120, 60)),
        ((301, 207), 128, 128, (64, 64)),
    ],
)
def test_portrait_and_mask_share_their_geometry(size, width, height, center):
    region = disc(*size, x=size[0] / 2 - 0.5, y=size[1] / 2 - 0.5, radius=min(size) / 4)
    fit = Fit.of(region, width=width, height=height)
    portrait = fit.portrait(region[..., None].expand(-1, -1, 3))
    mask = fit.mask(region)
    assert portrait.shape == (height, width, 3)
    assert mask.shape == (height, width)
    assert 0.0 <= portrait.amin() and portrait.amax() <= 1.0
    assert (portrait[..., 0] - mask).abs().mean() < 0.01

    # Twice the size, as if it had been painted over an enlarged portrait.
    large = torch.nn.functional.interpolate(region[None, None], scale_factor=2)[0, 0]
    assert (fit.mask(large) - mask).abs().mean() < 0.01

    row, column = torch.nonzero(mask > 0.5, as_tuple=True)
    assert column.float().mean() + 0.5 == pytest.approx(center[0], abs=1.0)
    assert row.float().mean() + 0.5 == pytest.approx(center[1], abs=1.0)
    # Scaled alike both ways: a disc stays a disc.
    assert int(column.max() - column.min()) == pytest.approx(int(row.max() - row.min()), abs=1)


def test_a_picture_of_the_right_size_is_left_alone():
    image = torch.rand(48, 32, 3)
    assert Fit.of(image, width=32, height=48).portrait(image) is image


def test_shrinking_a_fine_pattern_gives_its_mean_and_no_moire():
    stripes = (torch.arange(512) % 2).float()[None, :, None].expand(512, 512, 3)
    small = Fit.of(stripes, width=60, height=60).portrait(stripes)
    assert (small - 0.5).abs().amax() < 0.05


@pytest.mark.parametrize(
    ("anchor", "row", "column"),
    [((0.5, 0.0), 0, 0), ((0.5, 1.0), 100, 0), ((0.5, 0.5), 50, 0)],
)
def test_the_anchor_says_which_part_is_kept(anchor, row, column):
    image = torch.rand(200, 100, 3)
    kept = Fit.of(image, width=100, height=100, anchor=anchor).portrait(image)
    assert torch.equal(kept, image[row : row + 100, column : column + 100])


def test_a_stretched_portrait_is_hallo_s_to_the_last_bit():
    image = load_file(HALLO / "inputs.safetensors")["image.source"] / 255.0
    fit = Fit.of(image, width=128, height=128, is_stretched=True)
    pixels = fit.portrait(image).permute(2, 0, 1) * 2.0 - 1.0
    assert torch.equal(pixels, load_file(HALLO / "expected.safetensors")["image.pixels"])
    # Values between two grey levels, and outside 0..1, go to the nearest level.
    for error in (-0.0015, 0.0015):
        assert torch.equal(fit.portrait(image + error), fit.portrait(image))
    assert (fit.portrait(torch.full_like(image, 1.02)) == 1.0).all()


def test_a_stretched_mask_goes_the_way_of_its_portrait_and_loses_nothing():
    region = disc(400, 200, x=30, y=100, radius=25)
    fit = Fit.of(region, width=96, height=128, is_stretched=True)
    mask = fit.mask(region)
    assert mask.shape == (128, 96)
    portrait = fit.portrait(region[..., None].expand(-1, -1, 3).contiguous())
    assert torch.equal(portrait[..., 0], mask)
    assert mask.mean() == pytest.approx(float(region.mean()), rel=0.02)
    row, column = torch.nonzero(mask > 0.5, as_tuple=True)
    assert column.float().mean() + 0.5 == pytest.approx(30 * 96 / 400, abs=0.5)
    assert row.float().mean() + 0.5 == pytest.approx(100 * 128 / 200, abs=0.5)
    # A mask of the film's own size is left alone, and one of another size covers the same part.
    assert fit.mask(mask) is mask
    large = torch.nn.functional.interpolate(region[None, None], scale_factor=2)[0, 0]
    assert (fit.mask(large) - mask).abs().mean() < 0.01
