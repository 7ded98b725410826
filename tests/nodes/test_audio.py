"""The voice: which encoder hears it, and how long the film is."""

import dataclasses

import pytest
import torch
from graph import Graph, make_graph, sound


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    """A folder with wav2vec2-base's shapes and random weights, in Hugging Face's layout."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    folder = tmp_path_factory.mktemp("wav2vec2")
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    return folder


def test_a_file_that_is_no_audio_encoder_is_refused(pack, toy):
    from emo_pack.nodes.loading import load_encoder

    with pytest.raises(ValueError, match="this is not a wav2vec2 model"):
        load_encoder(toy.vae)


def test_the_encoder_hears_in_float32(pack, wav2vec2):
    from emo_pack.nodes.loading import load_encoder

    wire = load_encoder(wav2vec2 / "model.safetensors")
    assert {p.dtype for p in wire.patcher.model.parameters()} == {torch.float32}
    assert wire.patcher.is_dynamic() is wire.is_dynamic()


def test_a_wrong_or_needless_encoder_is_explained(graph, wav2vec2):
    from emo_pack.nodes.loading import load_encoder

    listen = graph.node("AudioEncode").execute
    other = load_encoder(wav2vec2 / "model.safetensors")
    with pytest.raises(ValueError, match="brings its own audio encoder.*Disconnect audio_encoder"):
        listen(graph.model, sound(0.5), 0.0, audio_encoder=other)
    bare = graph.model.clone()
    bare.attachments.clear()
    with pytest.raises(ValueError, match="brings no audio encoder. Connect 'Load EMO Audio Enc"):
        listen(bare, sound(0.5), 0.0)
    with pytest.raises(ValueError, match="12 layers of width 768; the checkpoint was made with 2"):
        listen(bare, sound(0.5), 0.0, audio_encoder=other)
    heard = dataclasses.replace(graph.audio, rows_RLD=torch.zeros(15, 12, 768))
    with pytest.raises(ValueError, match="EMO Guider: the audio has features of 12 layers"):
        graph.guider(emo_audio=heard)


def test_the_number_of_frames_follows_the_sound(graph):
    listen = graph.node("AudioEncode").execute
    for seconds, fps, frames in ((0.6, 0.0, 15), (1.0, 30.0, 30), (0.5, 29.97, 15), (0.02, 0.0, 1)):
        audio, num_frames = listen(graph.model, sound(seconds), fps).args
        assert (audio.length.num_frames, num_frames) == (frames, frames)


def test_encoding_a_long_sound_can_be_interrupted(graph):
    import comfy.model_management as management

    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        graph.node("AudioEncode").execute(graph.model, sound(0.5), 0.0)
    graph.node("AudioEncode").execute(graph.model, sound(0.5), 0.0)


def test_the_voice_gate_silences_pauses_of_what_is_encoded(graph):
    voice = sound(1.0)
    samples, rate = voice["waveform"], voice["sample_rate"]
    half = samples.shape[-1] // 2
    noise = torch.randn(half, generator=torch.Generator().manual_seed(0))
    samples[..., :half] = 0.4 * torch.sin(torch.arange(half) * 0.1)
    samples[..., half:] = 0.001 * noise
    gated = graph.node("VoiceGate").execute(voice, -45.0, 10.0, 20.0).args[0]
    assert gated["waveform"].shape == samples.shape
    assert gated["sample_rate"] == rate
    late = round(0.8 * samples.shape[-1])
    assert gated["waveform"][..., late:].abs().max() < 1e-6 < samples[..., late:].abs().max()
    audio, num_frames = graph.node("AudioEncode").execute(graph.model, gated, 0.0).args
    assert num_frames == 25
    free = graph.node("AudioEncode").execute(graph.model, voice, 0.0).args[0]
    assert not torch.equal(audio.rows_RLD, free.rows_RLD)
    both = {"waveform": samples.repeat(2, 1, 1), "sample_rate": rate}
    with pytest.raises(ValueError, match="EMO Voice Gate: the AUDIO is a batch of 2 sounds"):
        graph.node("VoiceGate").execute(both, -45.0, 10.0, 20.0)
    # What ComfyUI's Get Video Components hands on of a video without sound.
    with pytest.raises(ValueError, match="EMO Voice Gate: the AUDIO is empty"):
        graph.node("VoiceGate").execute(None, -45.0, 10.0, 20.0)
    with pytest.raises(ValueError, match="EMO Audio Encode: the AUDIO is empty"):
        graph.node("AudioEncode").execute(graph.model, None, 0.0)
