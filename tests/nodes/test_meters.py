"""The meters through ComfyUI's VAE and patchers, against the core's own on the same film."""

import pytest
import torch
from graph import Graph, make_graph, sound

from emo_core.checkpoints.load import load_networks, load_vae
from emo_core.evaluation.likeness import reference_net_features
from emo_core.evaluation.meters import FilmMeters
from emo_core.pipeline import Animator
from emo_core.sampling.clip_plan import plan_clips

FPS = 25.0
CLIP = 4


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


def test_reads_as_the_core_reads(graph, toy):
    from emo_pack.nodes.meters import film_meters

    with torch.inference_mode():
        frames = graph.vae.decode(graph.film())
        latents = graph.reference.reading.latents_1CHW
        portrait = graph.vae.decode(latents / graph.reference.net.config.latent_scale)[0]
        meters = film_meters(graph.reference, [len(frames)], fps=FPS)
        for part in frames.split(5):
            meters.push(part)
        found = meters.finish()
    networks = load_networks(toy.model, dtype=torch.float32)
    vae = load_vae(toy.vae, scale=networks.config.latent_scale)
    animator = Animator(networks, vae, networks.front_end)
    with torch.no_grad():
        # The last digits differ, and the toy portrait, nearly grey, is nearly the same upside down.
        assert (vae.decode(latents.clone())[0] - portrait).abs().max() < 1e-3
        core = FilmMeters(
            portrait.clone(),
            clips=plan_clips(len(frames), clip_frames=CLIP),
            fps=FPS,
            read_features=reference_net_features(
                animator.networks.reference_net, animator.vae.encode
            ),
        )
        core.push(frames.clone())
        wanted = core.finish()
    assert found.identity_by == "ReferenceNet"
    assert len(found.clips) == -(-len(frames) // CLIP) > 1
    assert [clip.identity for clip in found.clips] == pytest.approx(
        [clip.identity for clip in wanted.clips], abs=2e-3
    )
    assert [clip.seam_ratio for clip in found.clips] == [clip.seam_ratio for clip in wanted.clips]
    assert found.colour_drift == wanted.colour_drift


def test_lip_sync_is_read_where_the_voice_is_given(graph):
    from emo_pack.nodes.meters import film_meters
    from emo_pack.nodes.sound import waveform_of

    with torch.inference_mode():
        voice = waveform_of(sound(1.2), node="test")
        meters = film_meters(graph.reference, [30], fps=FPS, voice=voice)
        meters.push(torch.rand(30, 64, 64, 3, generator=torch.Generator().manual_seed(0)))
        reading = meters.finish()
    assert reading.lip_sync is not None
    assert -1.0 <= reading.lip_sync <= 1.0


def test_frames_of_another_size_are_refused(graph):
    from emo_pack.nodes.meters import film_meters

    with torch.inference_mode():
        meters = film_meters(graph.reference, [1], fps=FPS)
        with pytest.raises(ValueError, match=r"meters: frames of shape \(32, 32, 3\), the portr"):
            meters.push(torch.zeros(1, 32, 32, 3))
