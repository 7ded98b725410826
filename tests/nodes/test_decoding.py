"""Pieces that a film is decoded in, and what the begin of a clip loop gives by itself."""

import itertools

import pytest
import torch
from graph import Graph, make_graph

NUM_FRAMES = 37


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


@pytest.fixture(scope="module")
def latent(graph) -> dict:
    generator = torch.Generator().manual_seed(3)
    channels = graph.vae.latent_channels
    return {"samples": torch.randn(NUM_FRAMES, channels, 8, 8, generator=generator)}


@pytest.mark.parametrize("num_frames", [1, 4, 5, 16, 36, 37, 50])
@pytest.mark.parametrize("lengths", [[16, 16, 5], [15, 16, 5, 1], [37]])
def test_frames_are_the_same_in_other_pieces(pack, num_frames, lengths):
    from emo_pack.nodes.decoding import regrouped

    film = torch.rand(NUM_FRAMES, 2, 2, 3)
    pieces = list(regrouped(iter(film.split(lengths)), num_frames))
    assert torch.equal(torch.cat(pieces), film)
    *full, last = map(len, pieces)
    assert set(full) <= {num_frames} and 1 <= last <= num_frames


def test_a_piece_is_handed_on_before_the_next_is_made(pack):
    from emo_pack.nodes.decoding import regrouped

    made = itertools.count()
    pieces = regrouped((torch.full((4, 1, 1, 3), next(made)) for _ in range(9)), 4)
    next(pieces), next(pieces)
    assert next(made) == 2


@pytest.mark.parametrize("notes", [{}, {"emo_median": True}])
def test_the_begin_gives_the_first_frames_of_the_film(graph, latent, notes):
    from emo_core.video.median import median_filtered

    with torch.inference_mode():
        made = graph.node("ClipsBegin").execute(latent | notes, graph.vae, 5)
        plain = graph.vae.decode(latent["samples"])
    film = torch.cat(list(median_filtered([plain]))) if notes else plain
    assert made.args[0].shape == (5, 64, 64, 3)
    assert torch.equal(made.args[0], film[:5])
    assert torch.allclose(film, plain) is not bool(notes)


def test_no_number_of_frames_is_the_usual_one(graph, latent):
    with torch.inference_mode():
        frames, clips = graph.node("ClipsBegin").execute(latent, graph.vae, 0).args
    assert len(frames) == clips.frames_per_clip == 16


def test_the_median_of_the_begin_is_the_films(graph, latent):
    """A clip ends where the film goes on: its last frame is smoothed with the next clip's first."""
    noted = latent | {"emo_median": True}
    with torch.inference_mode():
        (whole, _) = graph.node("ClipsBegin").execute(noted, graph.vae, NUM_FRAMES).args
        (first, _) = graph.node("ClipsBegin").execute(noted, graph.vae, 16).args
    assert torch.equal(whole[:16], first)
