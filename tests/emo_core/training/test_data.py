"""Clips, their files, and the latents that the stages read."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_networks

from emo_core.audio.encoder import encode_sound
from emo_core.errors import InputError
from emo_core.models.vae import VAE
from emo_core.synthetic.voices import articulation
from emo_core.training.clips import (
    ARTICULATION_RATE_HZ,
    SOUND_RATE_HZ,
    TENSORS,
    clip_paths,
    load_clip,
    save_clip,
)
from emo_core.training.generate import (
    ENCODER_VOICES,
    SOUND_SECONDS,
    clip_utterance,
    generate_clips,
    make_clip,
)
from emo_core.training.latents import (
    FACE_SIGNALS,
    LatentClips,
    encode_clips,
    face_signals,
)

SMALL = {"num_frames": 3, "num_references": 2, "fps": 25.0, "size": 64}


def test_a_clip_holds_what_its_fields_say() -> None:
    clip = make_clip("train", 5, **SMALL)
    assert clip.frames.shape == (3, 64, 64, 3)
    assert clip.references.shape == (2, 64, 64, 3)
    assert clip.waveform.shape == (round(SOUND_SECONDS * SOUND_RATE_HZ),)
    assert clip.articulation.shape == (round(SOUND_SECONDS * ARTICULATION_RATE_HZ), 5)
    assert 0 <= clip.first_frame <= SOUND_SECONDS * clip.fps - 3
    for boxes in (clip.face_boxes, clip.mouth_boxes):
        assert boxes.shape == (3, 4)
        assert (boxes[:, :2] < boxes[:, 2:]).all()
    centre = (clip.mouth_boxes[:, :2] + clip.mouth_boxes[:, 2:]) / 2
    assert ((centre > clip.face_boxes[:, :2]) & (centre < clip.face_boxes[:, 2:])).all()


def test_clips_are_the_same_again_and_differ_by_number_and_split() -> None:
    first = make_clip("train", 5, **SMALL)
    again = make_clip("train", 5, **SMALL)
    for name in TENSORS:
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    for other in (make_clip("train", 6, **SMALL), make_clip("test", 5, **SMALL)):
        assert not torch.equal(first.frames, other.frames)
        assert not torch.equal(first.waveform, other.waveform)


def test_half_of_the_other_pictures_show_the_head_of_a_frame_with_another_look() -> None:
    clip = make_clip("train", 5, num_frames=16, num_references=6, fps=25.0, size=64)
    posed = clip.reference_frames[:3]
    assert (clip.reference_frames[3:] == -1).all()
    assert ((posed >= 0) & (posed <= 8)).all()
    frames, pictures = clip.frames.float(), clip.references.float()
    for picture, frame in zip(pictures, posed.tolist(), strict=False):
        distance_F = (frames - picture).abs().mean(dim=(1, 2, 3))
        assert abs(int(distance_F.argmin()) - frame) <= 1
        assert not torch.equal(frames[frame], picture)


def test_a_clip_file_round_trips(tmp_path: Path) -> None:
    clip = make_clip("train", 5, **SMALL)
    save_clip(clip, tmp_path / "clip_000005.safetensors")
    loaded = load_clip(tmp_path / "clip_000005.safetensors")
    assert (loaded.fps, loaded.first_frame) == (clip.fps, clip.first_frame)
    for name in TENSORS:
        assert torch.equal(getattr(loaded, name), getattr(clip, name)), name


def test_other_files_are_no_clips(tmp_path: Path) -> None:
    save_file({"frames": torch.zeros(1)}, tmp_path / "clip_0.safetensors")
    with pytest.raises(InputError, match="not a training clip"):
        load_clip(tmp_path / "clip_0.safetensors")
    with pytest.raises(InputError, match="holds no clip_"):
        encode_clips(tmp_path / "none", vae=VAE(scale=1.0), audio_encoder=None)


def test_clips_of_later_numbers_are_those_numbers(tmp_path: Path) -> None:
    after = ENCODER_VOICES.stop
    for first in (3, after):
        generate_clips(tmp_path, split="train", first=first, num_clips=1, num_workers=1, **SMALL)
    names = [f"clip_{number:06d}.safetensors" for number in (3, after)]
    assert [path.name for path in clip_paths(tmp_path)] == names
    for number, name in zip((3, after), names, strict=True):
        made = load_clip(tmp_path / name)
        assert torch.equal(made.frames, make_clip("train", number, **SMALL).frames)


@pytest.mark.parametrize(("first", "num_clips"), [(6999, 2), (30999, 1), (-1, 1)])
def test_clips_never_have_voices_of_the_audio_encoder(
    tmp_path: Path, first: int, num_clips: int
) -> None:
    with pytest.raises(InputError, match="data: .* number"):
        generate_clips(
            tmp_path, split="train", first=first, num_clips=num_clips, num_workers=1, **SMALL
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_frames": 101}, "--frames 101.* 1 to 100 frames"),
        ({"num_frames": 0}, "--frames 0"),
        ({"num_workers": 0}, "--workers 0"),
    ],
)
def test_clips_that_cannot_be_are_refused(
    tmp_path: Path, changed: dict[str, int], message: str
) -> None:
    sizes = {"num_clips": 1, "num_workers": 1, **SMALL, "fps": 25.0} | changed
    with pytest.raises(InputError, match=message):
        generate_clips(tmp_path / "clips", split="train", **sizes)
    assert not (tmp_path / "clips").exists()


def test_latents_of_a_checkpoint_get_its_scale(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    generate_clips(folder, split="train", num_clips=1, num_workers=1, **SMALL)
    networks = {"vae": VAE(scale=1.0), "audio_encoder": tiny_networks().front_end}
    data = encode_clips(folder, **networks, latent_scale=1.0)
    doubled = encode_clips(folder, **networks, latent_scale=2.0)
    assert float(doubled.latent_scale) == 2.0
    assert torch.equal(2.0 * data.latents, doubled.latents)


def test_encoded_clips(tmp_path: Path) -> None:
    """Latents vary by 1, and every frame's sound is the sound at that frame's time."""
    folder = tmp_path / "clips"
    generate_clips(folder, split="train", num_clips=2, num_workers=1, **SMALL)
    networks = tiny_networks()
    torch.manual_seed(0)
    data = encode_clips(folder, vae=VAE(scale=1.0), audio_encoder=networks.front_end)
    assert data.latents.shape == (2, 3, 4, 8, 8)
    assert data.references.shape == (2, 2, 4, 8, 8)
    assert data.latents.float().std() == pytest.approx(1.0, abs=0.02)
    clip = load_clip(folder / "clip_000001.safetensors")
    whole = torch.cat(
        list(encode_sound(networks.front_end, clip.waveform, fps=25.0, num_frames=100))
    )
    expected = whole[clip.first_frame :][:3]
    assert torch.allclose(data.audio[1].float(), expected, atol=2e-2)
    data.save(tmp_path / "latents.safetensors")
    loaded = LatentClips.load(tmp_path / "latents.safetensors")
    assert torch.equal(loaded.latents, data.latents)
    assert torch.equal(loaded.latent_scale, data.latent_scale)
    with pytest.raises(InputError, match="train encode"):
        LatentClips.load(tmp_path / "none.safetensors")


def test_face_signals_are_those_of_the_frames() -> None:
    """The clip keeps mouth shapes at 50 Hz from the start of its sound, and not per frame."""
    utterance = clip_utterance("train", 5)
    clip = make_clip("train", 5, num_frames=40, num_references=1, fps=25.0, size=32)
    signals = face_signals(clip)
    assert signals.shape == (40, len(FACE_SIGNALS))
    shapes = articulation(utterance, fps=25.0, num_frames=100)
    expected = torch.from_numpy(shapes[clip.first_frame : clip.first_frame + 40])
    assert expected[:, 0].max() > 0.05
    torch.testing.assert_close(signals[:, :5], expected, atol=0.05, rtol=0)
    assert torch.equal(signals[:, 5:], clip.expression)

    unknown = dataclasses.replace(
        clip, articulation=torch.zeros(0, 5), expression=torch.zeros(0, 6)
    )
    assert face_signals(unknown).isnan().all()
