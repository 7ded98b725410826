"""Where clips lie in films that are joined of pieces; others are in test_generate.py."""

import pytest

from emo_core.sampling.clip_plan import plan_joined_clips


@pytest.mark.parametrize(
    ("lengths", "crossfade", "wanted"),
    [
        ([26], 0, [(0, 2), (10, 2), (20, 0)]),
        # Clips of their own, as KSamplers make them.
        ([12, 12, 6], 0, [(0, 0), (12, 0), (24, 0)]),
        ([12, 12, 6], 4, [(0, 4), (8, 4), (16, 0)]),
        ([22, 22], 3, [(0, 2), (10, 3), (19, 2), (29, 0)]),
        # The fade begins before the first film's last clip does.
        ([22, 22], 14, [(0, 14), (8, 2), (18, 0)]),
        ([5, 5], 5, [(0, 0)]),
    ],
)
def test_clips_of_a_joined_film(
    lengths: list[int], crossfade: int, wanted: list[tuple[int, int]]
) -> None:
    clips = plan_joined_clips(lengths, clip_frames=12, overlap=2, crossfade=crossfade)
    assert [(clip.first, clip.num_shared) for clip in clips] == wanted
    assert [clip.index for clip in clips] == list(range(len(clips)))
    assert clips[-1].last == sum(lengths) - crossfade * (len(lengths) - 1)
