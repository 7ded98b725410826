"""Meters on films in which something is planted: it is found where it is, and nothing else."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emo_core.assets import DEMO_CHECKPOINT, DEMO_VAE
from emo_core.audio.waveform import Waveform
from emo_core.errors import InputError
from emo_core.evaluation.likeness import reference_net_features
from emo_core.evaluation.meters import FilmMeters
from emo_core.evaluation.readings import FilmReading, MeterReading
from emo_core.pipeline import Animator
from emo_core.sampling.clip_plan import ClipSpan, plan_clips
from emo_core.synthetic.drawing import FaceState, draw
from emo_core.synthetic.motion import face_states, random_motion
from emo_core.synthetic.portrait import Portrait, random_portrait
from emo_core.synthetic.voices import articulation, random_utterance

ROOT = Path(__file__).resolve().parents[3]
FPS = 25.0
CLIP = 12
PERSON, OTHER = (random_portrait("validation", index) for index in (3, 8))
UTTERANCES = [random_utterance("validation", index, seconds=4.0) for index in (6, 7)]


def drawn_film(person: Portrait, *, num_frames: int, mouth_F5: np.ndarray | None = None) -> Tensor:
    """uint8 (F, H, W, 3): a person who moves."""
    motion = random_motion(
        np.random.default_rng(5), num_frames=num_frames, fps=FPS, speed_deg_s=12.0
    )
    if mouth_F5 is None:
        mouth_F5 = np.zeros((num_frames, 5), np.float32)
    states = face_states(motion, mouth_F5)
    return torch.from_numpy(np.stack([draw(person, state, size=64) for state in states]))


def picture(person: Portrait) -> Tensor:
    return torch.from_numpy(draw(person, FaceState(), size=64)).float() / 255.0


def voice(index: int) -> Waveform:
    utterance = UTTERANCES[index]
    return Waveform(torch.from_numpy(utterance.samples)[None], utterance.sample_rate_hz)


def scrolled(num_frames: int, *, jumps: dict[int, int] | None = None) -> Tensor:
    """uint8 (F, 16, 32, 3): a bright bar that goes a pixel per frame, and more before `jumps`."""
    frames = torch.full((num_frames, 16, 32, 3), 100, dtype=torch.uint8)
    place = 0
    for index, frame in enumerate(frames):
        place += 1 if index == 0 else (jumps or {}).get(index, 1)
        frame[:, torch.arange(place, place + 8) % 32] = 160
    return frames


def read(
    frames: Tensor,
    *,
    portrait: Tensor | None = None,
    clip_frames: int = CLIP,
    overlap: int = 0,
    **how: object,
) -> FilmReading:
    portrait = frames[0].float() / 255.0 if portrait is None else portrait
    clips = plan_clips(max(len(frames), 1), clip_frames=clip_frames, overlap=overlap)
    meters = FilmMeters(portrait, **{"clips": clips, "fps": FPS} | how)
    meters.push(frames)
    return meters.finish()


def values(reading: FilmReading, name: str) -> list:
    return [getattr(clip, name) for clip in reading.clips]


@pytest.fixture(scope="module")
def read_features():
    animator = Animator.load(DEMO_CHECKPOINT, DEMO_VAE, device=torch.device("cpu"))
    return reference_net_features(animator.networks.reference_net, animator.vae.encode)


@pytest.fixture(scope="module")
def talking() -> Tensor:
    """A drawn film of the first voice."""
    mouth = articulation(UTTERANCES[0], fps=FPS, num_frames=100)
    return drawn_film(PERSON, num_frames=100, mouth_F5=mouth)


def test_a_planted_seam_is_found_and_no_other() -> None:
    reading = read(scrolled(60, jumps={36: 6}))
    seams = values(reading, "seam_ratio")
    assert seams[0] is None
    # A bar of 8 pixels that goes 6 changes 12 columns instead of 2.
    assert seams[1:] == pytest.approx([1.0, 1.0, 6.0, 1.0], rel=1e-3)
    assert reading.seam_ratio == pytest.approx(9.0 / 4.0, rel=1e-3)
    # The same jump within a clip is no seam.
    assert max(values(read(scrolled(60, jumps={40: 6})), "seam_ratio")[1:]) < 1.0


def test_clips_that_share_frames_lie_between_the_starts_of_two() -> None:
    """A jump into the second frame that clips share is a seam, one behind them is not."""
    for jump, is_seam in ((22, True), (23, False)):
        # At 40 no clip begins, since that of 30 has all frames up to the end.
        reading = read(scrolled(42, jumps={jump: 6}), overlap=2)
        assert [clip.first_frame for clip in reading.clips] == [0, 10, 20, 30]
        assert reading.num_frames == 42
        seams = values(reading, "seam_ratio")
        assert seams[0] is None and (max(seams[1:]) > 3.0) == is_seam
        assert (reading.seam_ratio > 1.5) == is_seam


def test_clips_of_any_length_and_fade_have_their_own_borders() -> None:
    """Two films that share five frames, then one without."""
    clips = [
        ClipSpan(0, 0, 12, 2),
        ClipSpan(1, 10, 20, 5),
        ClipSpan(2, 15, 27),
        ClipSpan(3, 27, 40),
    ]
    for jump, wanted in ((11, 1), (12, 1), (13, None), (20, 2), (21, None), (27, 3), (28, None)):
        reading = read(scrolled(40, jumps={jump: 6}), clips=clips)
        assert [clip.first_frame for clip in reading.clips] == [0, 10, 15, 27]
        found = [i for i, seam in enumerate(values(reading, "seam_ratio")) if seam and seam > 3.0]
        assert found == ([] if wanted is None else [wanted]), jump
        assert (reading.seam_ratio > 1.5) == (wanted is not None)


def test_planted_colours_are_found_in_levels_of_255() -> None:
    frames = scrolled(48)
    frames[24:36, ..., 1] += 10
    frames[36:, ..., 2] = 100 + 2 * (frames[36:, ..., 2].int() - 100).to(torch.uint8)
    reading = read(frames)
    bar = np.array([160] * 8 + [100] * 24)
    wider = 100 + 2 * (bar - 100)
    change = wider.mean() - bar.mean()
    assert values(reading, "colour_drift") == pytest.approx([0, 0, 10, change], abs=1e-3)
    contrast = wider.std() - bar.std()
    assert values(reading, "contrast_drift") == pytest.approx([0, 0, 0, contrast], abs=1e-3)
    assert reading.colour_drift == pytest.approx(change, abs=1e-3)


@pytest.mark.parametrize("instrument", ["ReferenceNet", "pixels"])
def test_another_person_in_one_clip_is_found(instrument: str, read_features) -> None:
    """In the same clothes, before the same background, and in the same pose."""
    names = ("clothes", "cloth", "cloth_accent", "background", "background_color")
    names += ("background_accent",)
    swap = dataclasses.replace(OTHER, **{name: getattr(PERSON, name) for name in names})
    frames = drawn_film(PERSON, num_frames=48)
    features = read_features if instrument == "ReferenceNet" else None
    before = read(frames, portrait=picture(PERSON), read_features=features)
    assert before.identity_by == instrument
    frames[24:36] = drawn_film(swap, num_frames=48)[24:36]
    after = read(frames, portrait=picture(PERSON), read_features=features)
    own, planted = values(before, "identity"), values(after, "identity")
    assert min(own) > 0.75
    assert planted[2] < min(own) - 0.1
    assert planted[:2] + planted[3:] == own[:2] + own[3:]


def test_the_portrait_itself_is_one_and_upside_down_is_nobody(read_features) -> None:
    portrait = picture(PERSON)
    still = torch.stack([portrait, portrait.flip(0)])
    reading = read(still, portrait=portrait, clip_frames=1, read_features=read_features)
    # Frames are read in 8 bits.
    assert values(reading, "identity") == pytest.approx([1.0, 0.0], abs=0.02)


def test_a_mouth_that_follows_its_voice(talking: Tensor) -> None:
    own, other = (read(talking, portrait=picture(PERSON), voice=voice(i)) for i in (0, 1))
    assert own.lip_sync > 0.6
    assert own.lip_sync_lag_frames == 0
    assert np.mean(values(own, "lip_sync")) > np.mean(values(other, "lip_sync")) + 0.4
    assert read(talking).lip_sync is None
    assert values(read(talking), "lip_sync") == [None] * 9


def test_a_late_mouth_has_a_positive_lag(talking: Tensor) -> None:
    late = torch.cat([talking[:1].expand(3, -1, -1, -1), talking[:-3]])
    assert read(late, portrait=picture(PERSON), voice=voice(0)).lip_sync_lag_frames == 3


def test_lip_sync_of_silence_is_nothing(talking: Tensor) -> None:
    """A film of four seconds whose voice ends after one."""
    sound = voice(0)
    cut = Waveform(sound.samples[:, : sound.sample_rate_hz].clone(), sound.sample_rate_hz)
    synced = values(read(talking, voice=cut), "lip_sync")
    assert None not in synced[:2]
    assert synced[-3:] == [None] * 3
    silent = Waveform(torch.zeros(1, 1000), 16000)
    assert read(talking, voice=silent).lip_sync is None


def test_any_split_gives_the_same_reading(talking: Tensor, read_features) -> None:
    frames = talking[:50].float() / 255.0
    clips = plan_clips(50, clip_frames=CLIP)
    how = {"clips": clips, "fps": FPS, "read_features": read_features, "voice": voice(0)}
    readings = []
    for sizes in ([50], [1] * 50, [7, 0, 30, 12, 1]):
        meters = FilmMeters(picture(PERSON), **how)
        for part in frames.split(sizes):
            meters.push(part)
        readings.append(meters.finish())
    assert readings[0] == readings[1] == readings[2]


def test_films_without_frames_and_short_ones() -> None:
    empty = read(scrolled(1)[:0], portrait=torch.zeros(16, 32, 3), voice=voice(0))
    assert (empty.clips, empty.num_frames, empty.identity, empty.seam_ratio) == ((), 0, None, None)
    assert empty.text() == "no frames"
    single = read(scrolled(1), voice=voice(0))
    assert single.clips == (
        MeterReading(
            first_frame=0,
            last_frame=0,
            identity=pytest.approx(1.0),
            colour_drift=0.0,
            contrast_drift=0.0,
            seam_ratio=None,
            lip_sync=None,
        ),
    )
    cut = read(scrolled(13))
    assert [(clip.first_frame, clip.last_frame) for clip in cut.clips] == [(0, 11), (12, 12)]
    assert cut.clips[1].seam_ratio == pytest.approx(1.0, rel=1e-3)
    # Nothing lies within clips of one frame.
    assert values(read(scrolled(5), clip_frames=1), "seam_ratio") == [None] * 5


def test_json_holds_everything(talking: Tensor) -> None:
    reading = read(talking[:30], voice=voice(0))
    kept = json.loads(reading.to_json())
    clips = tuple(MeterReading(**clip) for clip in kept.pop("clips"))
    assert FilmReading(**kept, clips=clips) == reading


def test_the_table_marks_the_worst_clip() -> None:
    frames = scrolled(60, jumps={36: 6})
    frames[24:36, ..., 1] += 10
    lines = read(frames).text().splitlines()
    assert lines[0].split() == ["clip", "seconds", "identity", "colour", "contrast", "seam"] + [
        "lip",
        "sync",
    ]
    assert lines[3].split()[:4] == ["2", "0.96", "-", "1.44"]
    assert "*10.0" in lines[3]
    assert "*" in lines[4].split()[-2]
    assert sum(line.count("*10.0") for line in lines) == 1
    assert "by pixels" in "\n".join(lines)


def test_the_table_of_a_long_film_is_short_and_shows_the_worst() -> None:
    frames = scrolled(2 * 501)
    frames[2 * 333 : 2 * 334, ..., 0] += 10
    lines = read(frames, clip_frames=2).text().splitlines()
    assert len(lines) < 115
    assert next(line for line in lines if "*10.0" in line).split()[0] == "333"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: read(scrolled(2), fps=0.0), "0.0 frames per second"),
        (
            lambda: read(scrolled(3), clips=plan_clips(2, clip_frames=1)),
            "frame 2, but the film's clips end before it",
        ),
        (lambda: read(scrolled(2), portrait=torch.zeros(16, 32)), "portrait of shape"),
        (lambda: read(scrolled(2), portrait=torch.zeros(8, 8, 3)), r"the portrait has \(8, 8, 3\)"),
        (
            lambda: read(torch.full((1, 8, 8, 3), torch.nan), portrait=torch.zeros(8, 8, 3)),
            "Frame 0 holds NaN",
        ),
    ],
)
def test_wrong_input_is_explained(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_meters_need_nothing_that_only_training_brings() -> None:
    script = (
        "import sys\n"
        "for name in ('scipy', 'accelerate', 'resvg_py', 'espeakng_loader'):\n"
        "    sys.modules[name] = None\n"
        "import emo_core.commands.animate, emo_core.evaluation.meters\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
