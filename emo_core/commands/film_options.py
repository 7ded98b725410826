"""What `animate` makes a film of and where the film goes; `preflight` reads the same options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..audio.gate import USUAL_ATTACK_MS, USUAL_RELEASE_MS, gate
from ..audio.timing import FilmLength
from ..audio.waveform import Waveform, check_waveform, read_audio
from ..errors import InputError
from ..files.replace import check_target
from ..film import Film
from ..pipeline import AnimateSettings, Animator, RetakeSettings
from ..preflight.plan import FilmPlan
from ..video.colour import ColourMatch
from ..video.images import Fit, read_image
from ..video.stills import PngSequenceWriter, check_image_path
from ..video.writer import Mp4Writer
from .face import add_face_options, place_portrait, read_identity
from .options import add_model_options, add_sampling_options, load_animator, read_settings
from .retake_options import add_retake_options, read_retakes

RESULTS = ("out", "contact_sheet", "meters")
"""Options that name what is written."""


@dataclass(frozen=True, kw_only=True)
class FilmToMake:
    """A film with all its conditions, and what it is made by."""

    animator: Animator
    film: Film
    length: FilmLength
    settings: AnimateSettings
    voice: Waveform
    """What drives the face."""
    soundtrack: Waveform
    """What the film sounds like."""
    portrait_HW3: Tensor
    """As the film shows it."""
    retakes: tuple[RetakeSettings, ...]
    colours: ColourMatch | None
    """Keeps the film's at the portrait's, where that is wanted."""

    def plan(self) -> FilmPlan:
        """What rendering it amounts to."""
        steps = self.animator.num_steps(self.settings)
        parts = [retake.part(self.film) for retake in self.retakes]
        return FilmPlan.of(self.film, steps=steps, parts=parts)

    def open_output(self, path: Path, *, num_frames: int) -> Mp4Writer | PngSequenceWriter:
        """Return the writer for a path: an mp4 with sound, or a folder of pictures."""
        comment = f"family {self.film.config.family}, seed {self.settings.seed}"
        if not is_mp4(path):
            return PngSequenceWriter(path, comment=comment)
        return Mp4Writer(
            path,
            fps=self.length.fps,
            width=self.film.width,
            height=self.film.height,
            num_frames=num_frames,
            sound=self.soundtrack,
            comment=comment,
        )


def add_film_options(parser: argparse.ArgumentParser) -> None:
    """Portrait, sound, output, face, sampling and model."""
    parser.add_argument("--portrait", type=Path, required=True, metavar="IMAGE")
    parser.add_argument(
        "--audio", type=Path, required=True, metavar="SOUND", help="the voice: any sound or film"
    )
    parser.add_argument(
        "--soundtrack",
        type=Path,
        metavar="SOUND",
        help="what the film sounds like, such as the voice with its music (default: the voice); it "
        "starts where the voice does, is cut at the film's end or followed by silence",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="NAME.mp4, or a folder that will hold numbered png pictures",
    )
    parser.add_argument("--start", type=float, default=0.0, help="seconds of the voice to skip")
    parser.add_argument("--end", type=float, help="second of the voice at which to end")
    parser.add_argument(
        "--gate",
        type=float,
        metavar="DB",
        help="what is quieter than this, in dB below full scale, is silence to the face; -45 is "
        "usual (default: no gate)",
    )
    parser.add_argument(
        "--gate-attack", type=float, metavar="MS", help=f"default: {USUAL_ATTACK_MS:g}"
    )
    parser.add_argument(
        "--gate-release", type=float, metavar="MS", help=f"default: {USUAL_RELEASE_MS:g}"
    )
    parser.add_argument(
        "--match-colour",
        type=float,
        metavar="STRENGTH",
        help="keep colours and brightness where the portrait has them, against drift in long "
        "films; 0 to 1, where 1 is wholly (default: as the model paints them)",
    )
    parser.add_argument(
        "--contact-sheet", type=Path, metavar="IMAGE", help="also save an overview, .png or .jpg"
    )
    parser.add_argument(
        "--meters",
        type=Path,
        metavar="FILE",
        help="also measure every clip, show a table, and write the numbers as json: likeness to "
        "the portrait, drift of colours, seams, and lip sync where the checkpoint draws faces",
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="keep every finished clip there; the same call again, after an interruption or with a "
        "change in a later part, makes only what is missing",
    )
    add_retake_options(parser)
    add_face_options(parser)
    add_sampling_options(parser)
    add_model_options(parser)


def gather_film(options: argparse.Namespace) -> FilmToMake:
    """Read, load and encode what `add_film_options` names.

    Raises:
        InputError: anything that cannot be used.
    """
    settings = read_settings(options)
    _check_files(options)
    portrait = read_image(options.portrait)
    # Long sounds lie on the disk, where the film will lie.
    folder = options.out.parent
    sound = read_audio(options.audio, start_s=options.start, end_s=options.end, folder=folder)
    check_waveform(sound, name=str(options.audio))
    soundtrack = sound
    if options.soundtrack is not None:
        soundtrack = read_audio(options.soundtrack, start_s=options.start, folder=folder)
    voice = _gated(sound, options)
    animator = load_animator(options)
    width, height = animator.size(settings)
    placed = place_portrait(options, portrait, width=width, height=height)
    film = animator.film(
        placed.picture_HW3,
        voice,
        settings=settings,
        face=placed.face,
        identity_E=read_identity(options.identity),
        is_stretched=placed.is_stretched,
    )
    fit = Fit.of(placed.picture_HW3, width=width, height=height, is_stretched=placed.is_stretched)
    shown_HW3, strength = fit.portrait(placed.picture_HW3), options.match_colour
    return FilmToMake(
        animator=animator,
        film=film,
        length=animator.length(sound, settings),
        settings=settings,
        voice=voice,
        soundtrack=soundtrack,
        portrait_HW3=shown_HW3,
        retakes=read_retakes(options, film.weights),
        colours=None if strength is None else ColourMatch(shown_HW3, strength=strength),
    )


def _check_files(options: argparse.Namespace) -> None:
    """See before long work that its results can go where they should, and cost no file that is
    read or another of them."""
    check_target(options.out, is_folder=not is_mp4(options.out))
    if options.contact_sheet is not None:
        check_image_path(options.contact_sheet)
    if options.meters is not None:
        check_target(options.meters)
    if options.soundtrack is not None and not is_mp4(options.out):
        raise InputError(
            f"--soundtrack {options.soundtrack}: png pictures have no sound. Leave it out, or give "
            "--out a name ending in .mp4."
        )
    read = {
        name: value
        for name, value in vars(options).items()
        if name not in RESULTS and isinstance(value, (Path, str)) and Path(value).is_file()
    }
    written: dict[str, Path] = {}
    for name in RESULTS:
        path = getattr(options, name)
        if path is None:
            continue
        for other, taken in (read | written).items():
            if path.resolve() == Path(taken).resolve():
                raise InputError(
                    f"--{name.replace('_', '-')} {path}: this is the file of "
                    f"--{other.replace('_', '-')} too, which it would replace. Choose another name."
                )
        written[name] = path


def is_mp4(path: Path) -> bool:
    """Whether a film goes into one file, and not into a folder of pictures.

    Raises:
        InputError: the name has another ending, or is none.
    """
    if path.name and path.suffix in ("", ".mp4"):
        return path.suffix == ".mp4"
    raise InputError(
        f"--out {path}: films are written as .mp4. Give a name ending in .mp4, or a folder "
        "name without an ending for png pictures."
    )


def _gated(sound: Waveform, options: argparse.Namespace) -> Waveform:
    """The voice that drives the face."""
    attack, release = options.gate_attack, options.gate_release
    if options.gate is None:
        for name, value in (("attack", attack), ("release", release)):
            if value is not None:
                raise InputError(
                    f"--gate-{name} {value:g}: does nothing without a gate. Give --gate too."
                )
        return sound
    voice = gate(
        sound,
        threshold_db=options.gate,
        attack_ms=USUAL_ATTACK_MS if attack is None else attack,
        release_ms=USUAL_RELEASE_MS if release is None else release,
    )
    check_waveform(voice, name=f"{options.audio} behind a gate of {options.gate:g} dB")
    return voice
