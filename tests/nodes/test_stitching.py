"""The stitcher on a real server: joints, sounds, colours; and how many frames it decodes."""

import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from graph import make_graph
from PIL import Image
from prompts import node, talk_prompt, with_images

from emo_core.audio.waveform import read_audio
from emo_core.video.colour import ColourMatch
from emo_core.video.images import Fit, read_image

NUM_FRAMES = 15
FPS = 25
SIDE = 64


def joined_prompt(num_clips, *, sounds=(), **inputs):
    """The same film several times in a row. `sounds`: numbers of clips that have the voice."""
    prompt = with_images(talk_prompt(seed=11))
    stitcher = prompt["stitcher"]["inputs"]
    stitcher |= {f"latents.latent_{i}": ["sampler", 0] for i in range(num_clips)}
    if "audio" not in inputs:
        del stitcher["audio"]
    stitcher |= {f"audios.audio_{i}": ["voice", 0] for i in sounds} | inputs
    return prompt


def film_of(server, run) -> Path:
    shown = run.outputs["save"]["images"][0]
    return server.base / "output" / shown["subfolder"] / shown["filename"]


def images_of(server, run) -> torch.Tensor:
    """IMAGE as the preview stored it, (F, H, W, 3) in steps of 1/255."""
    names = [shown["filename"] for shown in run.outputs["preview"]["images"]]
    pictures = [np.asarray(Image.open(server.base / "temp" / name)) for name in names]
    return torch.from_numpy(np.stack(pictures)[..., :3]) / 255.0


def succeeded(server, prompt):
    run = server.run(prompt)
    assert run.status == "success", run.error
    return run


@pytest.fixture(scope="module")
def one_clip(server):
    return images_of(server, succeeded(server, joined_prompt(1)))


def test_clips_are_put_one_behind_the_other(server, one_clip):
    """As before there were cross-fades, and without a sound."""
    run = succeeded(server, joined_prompt(2))
    made = images_of(server, run)
    assert torch.equal(made, one_clip.repeat(2, 1, 1, 1))
    with av.open(str(film_of(server, run))) as film:
        assert not film.streams.audio


def test_clips_fade_into_each_other(server, one_clip):
    run = succeeded(server, joined_prompt(3, crossfade=4))
    made = images_of(server, run)
    assert len(made) == 3 * NUM_FRAMES - 2 * 4
    assert torch.equal(made[:11], one_clip[:11])
    assert torch.equal(made[15:22], one_clip[4:11])
    assert torch.equal(made[-11:], one_clip[4:])
    for place in range(4):
        share = (place + 1) / 5
        wanted = one_clip[11 + place] * (1 - share) + one_clip[place] * share
        # Two roundings to 1/255.
        assert (made[11 + place] - wanted).abs().max() < 1.01 / 255
    with av.open(str(film_of(server, run))) as film:
        assert sum(1 for _ in film.decode(video=0)) == len(made)


def test_clips_bring_their_sounds(server, toy):
    """The second and third of four clips speak, and fade; each sound begins with its clip."""
    run = succeeded(server, joined_prompt(4, sounds=(1, 2), crossfade=2))
    heard = read_audio(film_of(server, run))
    length = 4 * NUM_FRAMES - 3 * 2
    assert heard.duration_s == pytest.approx(length / FPS, abs=0.002)
    voice = read_audio(toy.voice).samples[0]
    rate = heard.sample_rate_hz
    assert rate == 16000
    per_frame = rate // FPS
    level = heard.samples.abs().mean(dim=0)[: length * per_frame].unflatten(0, (-1, per_frame))
    level = level.mean(dim=1)
    loudness = voice.abs().mean()
    begin, end = NUM_FRAMES - 2, 3 * NUM_FRAMES - 2 * 2
    # AAC smears a little of a loud packet into the one before it.
    assert level[: begin - 2].max() < 0.01 * loudness
    assert level[end + 2 :].max() < 0.01 * loudness
    assert level[begin:end].mean() > 0.7 * loudness
    # The voice alone, in the middle of the second clip, is where its clip is.
    first, last = (begin + 3) * per_frame, (begin + 12) * per_frame
    wanted = voice[3 * per_frame : 12 * per_frame]
    similarity = torch.nn.functional.cosine_similarity(heard.samples[0, first:last], wanted, dim=0)
    assert similarity > 0.9


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_colours_follow_the_portrait(server, toy, one_clip, strength):
    prompt = joined_prompt(1, match_to=["portrait", 0], match_strength=strength)
    made = images_of(server, succeeded(server, prompt))
    portrait = read_image(toy.portrait)
    picture = Fit.of(portrait, width=SIDE, height=SIDE).portrait(portrait)
    wanted = ColourMatch(picture, strength=strength).push(one_clip)
    assert (made - wanted).abs().max() < 3 / 255
    assert (made - one_clip).abs().max() > 10 / 255
    if strength == 1.0:
        apart = made[0].mean(dim=(0, 1)) - picture.mean(dim=(0, 1))
        assert apart.abs().max() < 2 / 255


def two_rates(**inputs):
    """Two clips of one voice, the second sampled at 20 frames per second."""
    prompt = joined_prompt(1, **{"latents.latent_1": ["slower", 0]}, **inputs)
    heard = prompt["audio"]["inputs"] | {"fps": 20.0}
    sampled = prompt["sampler"]["inputs"] | {"emo_audio": ["heard", 0]}
    return prompt | {
        "heard": node("EMO_AudioEncode", **heard),
        "slower": node("EMO_Sampler", **sampled),
    }


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (
            joined_prompt(3, crossfade=8),
            "piece 2 of 3 has 15 frames. Expected at least 16",
        ),
        (
            joined_prompt(2, sounds=(0,), audio=["voice", 0]),
            "EMO Clip Stitcher: audio and audios are both connected",
        ),
        (
            joined_prompt(2, sounds=(0, 7)),
            "EMO Clip Stitcher: audio_7 is connected but latent_7 is not",
        ),
        (
            joined_prompt(1, match_to=["sampled", 1])
            | {
                "sampled": node(
                    "EMO_ClipStitcher",
                    **{"latents.latent_0": ["sampler", 0]},
                    vae=["vae", 0],
                    fps=0.0,
                    crf=18,
                )
            },
            "EMO Clip Stitcher: match_to is a batch of 15 images",
        ),
        (
            two_rates(),
            "EMO Clip Stitcher: clips of 20 and 25 frames per second are connected",
        ),
    ],
    ids=["crossfade", "two sounds", "no clip", "many pictures", "two rates"],
)
def test_what_cannot_be_joined_is_explained(server, prompt, message):
    run = server.run(prompt)
    assert run.status == "error"
    assert message in run.error


def test_clips_of_two_rates_play_at_the_one_that_is_asked_for(server):
    run = succeeded(server, two_rates(fps=25.0))
    assert len(images_of(server, run)) == 15 + 12


@pytest.fixture(scope="module")
def vae(pack, toy):
    return make_graph(pack, toy).vae


def film(num_frames):
    return torch.randn(num_frames, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("fits", "expected"), [(0.3, 1), (2.0, 1), (7.0, 3), (1000.0, 16)])
def test_parts_take_half_of_the_free_memory(pack, vae, monkeypatch, fits, expected):
    import comfy.model_management
    from emo_pack.nodes.decoding import frames_at_once

    one_frame = vae.memory_used_decode((1, 4, 8, 8), vae.vae_dtype)
    free = math.ceil(fits * one_frame)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: free)
    assert frames_at_once(vae, film(40)) == expected


def test_a_cpu_without_memory_gives_the_same_frames_in_smaller_parts(pack, vae, monkeypatch):
    """ComfyUI hands on the error of the CPU's allocator; on a GPU it would decode in tiles."""
    from emo_pack.nodes.decoding import decoded

    with torch.inference_mode():
        whole = vae.decode(film(20))
        plain, asked = vae.first_stage_model.decode, []

        def decode(samples, **options):
            asked.append(len(samples))
            if len(samples) > 3:
                torch.empty(2**60, dtype=torch.uint8)
            return plain(samples, **options)

        monkeypatch.setattr(vae.first_stage_model, "decode", decode)
        made = torch.cat(list(decoded([film(20)[:12], film(20)[12:]], vae, like_FChw=film(1))))
    assert asked == [12, 6, *[3] * 6, 2]
    assert (made - whole).abs().max() < 1e-5
