"""The voice: own encoder and ComfyUI's wav2vec2 hear what the command line hears."""

import pytest
import torch
from conftest import SAMPLE_RATE_HZ, voice_samples
from graph import Graph, make_graph, sound

from emo_core.audio.encoder import Wav2Vec2Encoder, encode_sound


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


def test_comfyuis_wav2vec2_gives_the_features_of_transformers(pack, wav2vec2):
    from emo_pack.nodes.loading import load_wav2vec2

    wire = load_wav2vec2(wav2vec2 / "model.safetensors")
    ours = Wav2Vec2Encoder.from_folder(wav2vec2, num_layers=12, feature_dim=768)
    # ComfyUI keeps an audio encoder's weights as it keeps text encoders': in half precision.
    kept = next(wire.patcher.model.parameters()).dtype
    ours.model.to(kept).float()
    voice = voice_samples(0.7)
    for seconds in (0.7, 0.513):
        heard = voice[: round(seconds * SAMPLE_RATE_HZ)]
        with torch.inference_mode():
            made = encode_sound(wire.encoder, heard, fps=25.0, num_frames=12)
            wanted = encode_sound(ours, heard, fps=25.0, num_frames=12)
        assert made.shape == (12, 12, 768)
        assert (made - wanted).abs().max() < 1e-3
    assert wire.patcher.is_dynamic() is wire.is_dynamic()


def test_a_file_that_is_no_wav2vec2_is_refused(pack, toy):
    from emo_pack.nodes.loading import load_wav2vec2

    with pytest.raises(ValueError, match="not an audio encoder that ComfyUI knows"):
        load_wav2vec2(toy.vae)


def test_a_wrong_or_needless_encoder_is_explained(graph, wav2vec2):
    from emo_pack.nodes.loading import load_wav2vec2

    listen = graph.node("AudioEncode").execute
    other = load_wav2vec2(wav2vec2 / "model.safetensors")
    with pytest.raises(ValueError, match="brings its own audio encoder.*Disconnect audio_encoder"):
        listen(graph.model, sound(0.5), 0.0, audio_encoder=other)
    bare = graph.model.clone()
    bare.attachments.clear()
    with pytest.raises(ValueError, match="brings no audio encoder. Connect 'Load EMO Audio Enc"):
        listen(bare, sound(0.5), 0.0)
    heard = listen(bare, sound(0.5), 0.0, audio_encoder=other).args[0]
    with pytest.raises(ValueError, match="EMO Guider: the audio has features of 12 layers"):
        graph.node("Guider").execute(graph.model, graph.reference, heard, 0.0, 1.0, 1.0, 1.0)


def test_the_number_of_frames_follows_the_sound(graph):
    listen = graph.node("AudioEncode").execute
    for seconds, fps, frames in ((0.6, 0.0, 15), (1.0, 30.0, 30), (0.5, 29.97, 15), (0.02, 0.0, 1)):
        audio, num_frames = listen(graph.model, sound(seconds), fps).args
        assert (audio.num_frames, num_frames) == (frames, frames)


def test_encoding_a_long_sound_can_be_interrupted(graph):
    import comfy.model_management as management

    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        graph.node("AudioEncode").execute(graph.model, sound(0.5), 0.0)
    graph.node("AudioEncode").execute(graph.model, sound(0.5), 0.0)
