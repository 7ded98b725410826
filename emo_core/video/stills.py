"""Single pictures: a png sequence for other programs, a contact sheet to look at.

Letters in this file: T frames, H height, W width.
"""

import io
import math
from pathlib import Path
from types import TracebackType

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..errors import InputError
from ..files.replace import check_target, explaining_os_errors, remove_stale, replacing
from .frame_bytes import frames_as_bytes
from .provenance import GENERATOR, generated_note, xmp_packet

SHEET_COLOR = (24, 24, 28)
LABEL_COLOR = (220, 220, 224)
GAP = 8
LABEL_HEIGHT = 16
JPEG_QUALITY = 92
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")


class PngSequenceWriter:
    """A context manager that takes frames and leaves a folder frame_000000.png, frame_000001.png...

    The folder appears when the block has ended well, with all its frames; after any exception,
    Ctrl-C included, there is none. Every picture carries the note that it is generated. A program
    that is killed leaves a hidden folder, which the next that writes there a week later removes.

    Args:
        folder: a new or an empty folder, inside a folder that exists.
        comment: free text for the note.

    Raises:
        InputError: the folder is not empty, or the disk is full or refuses, or frames hold NaN.
    """

    def __init__(self, folder: str | Path, *, comment: str = "") -> None:
        self.folder = Path(folder)
        self.num_written = 0
        self._info = _png_info(comment)

    def __enter__(self) -> "PngSequenceWriter":
        remove_stale(self.folder.parent)
        self._replacing = replacing(self.folder, is_folder=True)
        self._temporary = self._replacing.__enter__()
        return self

    def write(self, frames: Tensor) -> None:
        """Append frames: (T, H, W, 3), floats in 0..1 or uint8, on any device; T may be 0."""
        for frame in frames_as_bytes(frames, first_index=self.num_written):
            file = self._temporary / f"frame_{self.num_written:06d}.png"
            image = Image.fromarray(frame.numpy())
            # A low compression level: twice as fast for files a few per cent larger.
            content = encoded(image, format="PNG", pnginfo=self._info, compress_level=3)
            with explaining_os_errors(self.folder):
                file.write_bytes(content)
            self.num_written += 1

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._replacing.__exit__(error_type, error, traceback)


def contact_sheet(frames: Tensor, *, columns: int, labels: list[str] | None = None) -> Image.Image:
    """Lay frames out in rows, left to right and top to bottom.

    Args:
        frames: (T, H, W, 3), floats in 0..1 or uint8, at least one.
        columns: pictures per row.
        labels: one short line under each picture, cut where it is wider than its picture.
    """
    pictures = frames_as_bytes(frames, first_index=0)
    num_frames, height, width, _ = pictures.shape
    if num_frames == 0 or columns < 1:
        raise ValueError(f"{num_frames} frames in {columns} columns. Expected at least 1 each.")
    if labels is not None and len(labels) != num_frames:
        raise ValueError(f"{len(labels)} labels came for {num_frames} frames. Expected as many.")

    columns = min(columns, num_frames)
    rows = math.ceil(num_frames / columns)
    step_x = width + GAP
    step_y = height + GAP + (LABEL_HEIGHT if labels else 0)
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), SHEET_COLOR)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default()
    for index, picture in enumerate(pictures):
        x = GAP + index % columns * step_x
        y = GAP + index // columns * step_y
        sheet.paste(Image.fromarray(picture.numpy()), (x, y))
        if labels:
            label = labels[index]
            while label and draw.textlength(label, font=font) > width:
                label = label[:-1]
            draw.text((x, y + height + 2), label, fill=LABEL_COLOR, font=font)
    return sheet


def save_image(image: Image.Image, path: str | Path, *, comment: str = "") -> None:
    """Save a generated picture as .png or .jpg, whole or not at all, with the note of its origin.

    Raises:
        InputError: another ending, no such folder, or the disk is full or refuses.
    """
    path = Path(path)
    check_image_path(path)
    if path.suffix.lower() == ".png":
        content = encoded(image, format="PNG", pnginfo=_png_info(comment))
    else:
        content = encoded(
            image,
            format="JPEG",
            quality=JPEG_QUALITY,
            comment=generated_note(comment),
            xmp=xmp_packet(comment).encode("utf-8"),
        )
    with replacing(path) as temporary, explaining_os_errors(path):
        temporary.write_bytes(content)


def check_image_path(path: Path) -> None:
    """See whether `save_image` can write there, such as before the picture is made.

    Raises:
        InputError: another ending, or no such folder.
    """
    if path.suffix.lower() not in IMAGE_ENDINGS:
        raise InputError(
            f"{path}: the name ends in {path.suffix.lower() or 'nothing'}. Expected .png or .jpg; "
            "rename it."
        )
    check_target(path)


def encoded(image: Image.Image, **options: object) -> bytes:
    """Encode in memory: writing to a file itself, Pillow hides why the system refused."""
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def _png_info(comment: str) -> PngInfo:
    info = PngInfo()
    info.add_text("Software", GENERATOR)
    info.add_text("Comment", generated_note(comment))
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(comment))
    return info
