"""Frames are the same in whatever parts the memory lets them be decoded."""

import gc
import weakref

import pytest
import torch
from tiny import tiny_networks

from emo_core.audio.waveform import Waveform
from emo_core.errors import InputError, is_out_of_memory
from emo_core.models.vae import VAE
from emo_core.pipeline import AnimateSettings, Animator
from emo_core.video.decoding import FRAMES_AT_ONCE, decode_in_parts


def latents(num_frames, *, seed=0):
    return torch.randn(num_frames, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def cpu_error():
    """What torch really says where the CPU has no memory left."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


def gpu_error():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Memory:
    """A decoder in a memory of a given size; every value of a frame depends on its latents."""

    def __init__(self, num_frames, make_error=gpu_error):
        self.num_frames = num_frames
        self.make_error = make_error
        self.asked = []

    def decode(self, part):
        self.asked.append(len(part))
        if len(part) > self.num_frames:
            raise self.make_error()
        return part.permute(0, 2, 3, 1)[..., :3].sigmoid()


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VAE(scale=1.0).eval()


def test_only_errors_of_memory_count():
    assert is_out_of_memory(cpu_error())
    assert is_out_of_memory(gpu_error())
    assert not is_out_of_memory(RuntimeError("size mismatch"))


@pytest.mark.parametrize("make_error", [cpu_error, gpu_error])
@pytest.mark.parametrize(
    ("room", "asked"),
    [
        (99, [16, 4]),
        (16, [16, 4]),
        (15, [16, 8, 8, 4]),
        (5, [16, 8, 4, 4, 4, 4, 4]),
        (1, [16, 8, 4, 2, *[1] * 20]),
    ],
)
def test_a_part_that_does_not_fit_is_halved_once_for_all(room, asked, make_error):
    memory = Memory(room, make_error)
    parts = list(decode_in_parts([latents(20)], memory.decode))
    assert memory.asked == asked
    assert torch.equal(torch.cat(parts), Memory(99).decode(latents(20)))


def test_the_smaller_size_is_kept_for_later_clips_and_parts_end_with_them():
    memory = Memory(3)
    clips = [latents(num, seed=num) for num in (5, 2, 0, 7)]
    parts = list(decode_in_parts(iter(clips), memory.decode, frames_at_once=6))
    assert memory.asked == [5, 2, 2, 1, 2, 2, 2, 2, 1]
    assert torch.equal(torch.cat(parts), Memory(99).decode(torch.cat(clips)))


def test_memory_that_shrinks_in_the_middle():
    memory = Memory(16)
    parts = []
    for part in decode_in_parts([latents(50)], memory.decode):
        parts.append(part)
        memory.num_frames = 3
    assert memory.asked[:4] == [16, 16, 8, 4]
    assert torch.equal(torch.cat(parts), Memory(99).decode(latents(50)))


def test_clips_are_asked_for_when_their_turn_comes():
    begun = []

    def clips():
        for index in range(3):
            begun.append(index)
            yield latents(4)

    parts = decode_in_parts(clips(), Memory(99).decode)
    next(parts)
    assert begun == [0]
    next(parts)
    assert begun == [0, 1]


def test_a_frame_that_does_not_fit_is_an_error_that_says_so():
    with pytest.raises(InputError, match=r"single frame of 8x8 latents .*Expected room") as caught:
        list(decode_in_parts([latents(4)], Memory(0).decode))
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_other_errors_pass_at_once():
    memory = Memory(3, lambda: RuntimeError("size mismatch"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(decode_in_parts([latents(4)], memory.decode))
    assert memory.asked == [4]


def test_what_a_failed_part_held_is_free_before_the_next_try():
    held = []

    def decode(part):
        if held:
            assert held[0]() is None
            return part
        activations = torch.zeros(len(part))
        held.append(weakref.ref(activations))
        raise gpu_error()

    gc.disable()  # It must not hang on a cycle either.
    try:
        assert len(torch.cat(list(decode_in_parts([latents(4)], decode)))) == 4
    finally:
        gc.enable()


def test_a_film_is_the_same_on_a_machine_with_little_memory(vae, monkeypatch):
    """The whole headless way, with a VAE that runs out of memory above two frames."""
    torch.manual_seed(0)
    networks = tiny_networks()
    animator = Animator(networks, vae, networks.front_end)
    portrait = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(2))
    samples = torch.randn(1, 8000, generator=torch.Generator().manual_seed(3))
    settings = AnimateSettings(steps=1, seed=4)
    film = animator.film(portrait, Waveform(samples * 0.1, 16000), settings=settings)
    whole = torch.cat(list(animator.animate(film, settings=settings)))

    decode, asked = vae.decode, []

    def decode_in_little_memory(part):
        asked.append(len(part))
        if len(part) > 2:
            raise gpu_error()
        return decode(part)

    monkeypatch.setattr(vae, "decode", decode_in_little_memory)
    little = torch.cat(list(animator.animate(film, settings=settings)))
    assert max(asked) > 2 and asked.count(max(asked)) == 1
    # Convolutions add in another order for another number of frames.
    assert (little - whole).abs().max() < 1e-5


def test_frames_do_not_depend_on_the_size_of_a_part(vae):
    with torch.no_grad():
        whole = vae.decode(latents(FRAMES_AT_ONCE + 4))
        for frames_at_once in (1, 3, FRAMES_AT_ONCE):
            parts = decode_in_parts(
                [latents(FRAMES_AT_ONCE + 4)], vae.decode, frames_at_once=frames_at_once
            )
            assert (torch.cat(list(parts)) - whole).abs().max() < 1e-5
