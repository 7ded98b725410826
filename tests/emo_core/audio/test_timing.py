"""Lengths of films, in each family's own counting."""

import pytest
from parity_kit import kit

from emo_core.audio.timing import (
    film_length,
    length_of_windows,
    looped_frames,
    step_of_frame,
    whole_clips,
)
from emo_core.config import AudioConfig, SamplingConfig, WindowsConfig
from emo_core.errors import InputError

EMO = SamplingConfig()
HALLO = SamplingConfig(clip_frames=16)
ECHOMIMIC = SamplingConfig(fps=24.0, windows=WindowsConfig(overlap=3, is_loop=True, shift=2))
V_EXPRESS = SamplingConfig(
    fps=30.0, clip_frames=24, is_length_of_windows=True, windows=WindowsConfig(overlap=4)
)


def audio(timing: str) -> AudioConfig:
    return AudioConfig(timing=timing)


def test_hallo_counts_as_upstream() -> None:
    expected = kit("hallo").expected
    rows = expected["audio.frame_counts"].tolist()
    assert len(rows) == 8
    for num_samples, clip_frames, *wanted in rows:
        clips = whole_clips(num_samples, fps=25.0, clip_frames=clip_frames)
        found = [clips.num_frames, clips.num_padded_frames, clips.num_zeros]
        assert found == wanted, num_samples
    padded, length, num_clips = expected["audio.lengths"].tolist()
    clips = whole_clips(6900, fps=25.0, clip_frames=4)
    assert (clips.num_padded_frames, clips.num_frames) == (padded, length)
    assert padded == 4 * num_clips


def test_silence_lasts_as_long_as_its_frames_at_any_rate() -> None:
    clips = whole_clips(16000, fps=30.0, clip_frames=16)
    assert (clips.num_frames, clips.num_padded_frames) == (30, 32)
    assert clips.num_zeros == round(2 * 16000 / 30)


def test_echomimic_counts_as_upstream() -> None:
    config, expected = kit("echomimic").config, kit("echomimic").expected
    num_steps = config["audio"]["n_samples"] // 320
    assert num_steps == len(expected["audio_features"])
    assert looped_frames(num_steps, fps=24.0) == expected["audio_frame_count"].item()
    num_rows, num_frames = expected["audio_long_counts"].tolist()
    assert looped_frames(num_rows, fps=24.0) == num_frames
    assert 496777 // 320 == num_rows
    centers = [step_of_frame(frame, fps=24.0) for frame in range(22)]
    # Before clamping, the fifth of a window's rows is the frame's own step.
    assert [min(center, 40) for center in centers] == expected["audio_window_index"][:, 4].tolist()


@pytest.mark.parametrize("fps", [23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0])
def test_echomimic_loop_covers_the_sound_and_little_more(fps: float) -> None:
    for num_steps in range(1, 400):
        num_frames = looped_frames(num_steps, fps=fps)
        assert step_of_frame(num_frames - 1, fps=fps) > num_steps - 1
        assert 0 < num_frames - num_steps * fps / 50 < 2 + fps / 50


def test_v_express_counts_as_upstream() -> None:
    expected = kit("vexpress").expected
    rows = [*expected["length_table"].tolist(), expected["length"].tolist()]
    rates = [*expected["length_table_fps"].tolist(), *expected["output_fps"].tolist()]
    num_short = 0
    for (num_samples, _, num_windows, num_frames), fps in zip(rows, rates, strict=True):
        found = length_of_windows(num_samples, V_EXPRESS)
        if num_frames == -1:
            assert found is None
            num_short += 1
            continue
        assert (found.num_frames, found.fps) == (num_frames, fps), num_samples
        assert num_frames == 24 + 20 * (num_windows - 1)
    assert num_short == 3


def test_each_family_samples_what_it_needs() -> None:
    second = {"sample_rate_hz": 16000}
    emo = film_length(40000, sampling=EMO, audio=audio("frame_centers"), **second)
    assert (emo.num_frames, emo.fps, emo.num_sampled_frames) == (62, 25.0, 72)
    # 10 s and one sample: the frame that has begun is made, but not shown.
    hallo = film_length(160001, sampling=HALLO, audio=audio("before_encoder"), **second)
    assert (hallo.num_frames, hallo.num_sampled_frames) == (250, 256)
    hallo = film_length(163841, sampling=HALLO, audio=audio("before_encoder"), **second)
    assert (hallo.num_frames, hallo.num_sampled_frames) == (256, 272)
    echo = film_length(13340, sampling=ECHOMIMIC, audio=audio("encoder_steps"), **second)
    assert (echo.num_frames, echo.fps, echo.num_sampled_frames) == (20, 24.0, 22)


def test_v_express_stretches_unless_a_rate_is_asked_for() -> None:
    def length(num_samples: int, fps: float | None) -> tuple[int, float, int]:
        found = film_length(
            num_samples,
            sample_rate_hz=16000,
            sampling=V_EXPRESS,
            audio=audio("after_encoder"),
            fps=fps,
        )
        return found.num_frames, found.fps, found.num_sampled_frames

    assert length(48000, None) == (84, 28.0, 84)
    assert length(48000, 30.0) == (90, 30.0, 90)
    # Shorter than one window: upstream fails, here it keeps its rate.
    assert length(8000, None) == (15, 30.0, 15)


def test_counts_are_taken_at_the_rate_of_the_encoder() -> None:
    """The same second at another rate gives the same film."""
    for timing in ("frame_centers", "before_encoder", "encoder_steps"):
        lengths = {
            film_length(
                num_samples, sample_rate_hz=rate, sampling=HALLO, audio=audio(timing), fps=25.0
            )
            for num_samples, rate in ((16000, 16000), (44100, 44100), (48000, 48000))
        }
        assert len(lengths) == 1


def test_a_rate_of_nothing_is_refused() -> None:
    for timing in ("frame_centers", "before_encoder", "encoder_steps"):
        with pytest.raises(InputError, match="frame rate is 0"):
            film_length(16000, sample_rate_hz=16000, sampling=EMO, audio=audio(timing), fps=0.0)
