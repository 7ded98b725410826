"""Windows over a film: every frame covered, and a perfect model's frames come out."""

import pytest
import torch
from torch import Tensor

from emo_core.config import DiffusionConfig, SamplingConfig, WindowsConfig
from emo_core.errors import InputError
from emo_core.sampling.denoising import denoise
from emo_core.sampling.noise import limited
from emo_core.sampling.schedule import make_scheduler
from emo_core.sampling.window_plan import plan_windows
from emo_core.sampling.windows import predict_in_windows

LOOP = WindowsConfig(overlap=3, is_loop=True, shift=2)
LINE = WindowsConfig(overlap=4)


@pytest.mark.parametrize("config", [LOOP, LINE, WindowsConfig(overlap=0)])
def test_every_frame_is_in_a_window_of_every_step(config: WindowsConfig) -> None:
    for num_frames in (1, 5, 12, 13, 20, 21, 22, 23, 100):
        for step in (0, 1, 7):
            windows = plan_windows(num_frames, length=12, config=config, step_index=step)
            assert {frame for window in windows for frame in window} == set(range(num_frames))
            assert all(len(set(window)) == min(12, num_frames) for window in windows)


def test_windows_that_do_not_loop_end_with_the_film() -> None:
    assert plan_windows(44, length=24, config=LINE) == [list(range(24)), list(range(20, 44))]
    assert plan_windows(30, length=24, config=LINE)[-1] == list(range(6, 30))
    assert len(plan_windows(24, length=24, config=LINE)) == 1


@pytest.mark.parametrize("config", [LOOP, LINE])
def test_a_perfect_model_gives_the_clean_frames(config: WindowsConfig) -> None:
    clean = torch.arange(20.0)[:, None, None, None].expand(20, 4, 3, 5)
    alphas = make_scheduler(DiffusionConfig(), solver="ddim").alphas_cumprod.double()
    seen = []

    def prepare(frames: list[int]):  # noqa: ANN202
        def predict(latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(frames)
            alpha = alphas[int(timestep)]
            signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
            noise = (latents.double() - signal * clean[frames]) / spread
            velocity = (signal * noise - spread * clean[frames]).float()
            return velocity, velocity

        return predict

    steps: list[int] = []
    made = denoise(
        predict_in_windows(prepare, guidance=3.0, length=12, config=config),
        torch.randn(20, 4, 3, 5),
        scheduler=make_scheduler(DiffusionConfig(), solver="ddim"),
        steps=5,
        device=torch.device("cpu"),
        on_step=lambda step, latents: steps.append(step),
    )
    assert torch.allclose(made, clean, atol=1e-3)
    assert steps == [0, 1, 2, 3, 4]
    assert (seen[: len(seen) // 5] == seen[-(len(seen) // 5) :]) is (config is LINE)


def test_noise_is_limited_where_a_family_limits_it() -> None:
    noise = torch.randn(1000)
    assert limited(noise, None) is noise
    assert limited(noise, 1.5).abs().max() == 1.5


def test_configs_of_windows_that_cannot_be() -> None:
    with pytest.raises(InputError, match="only windows of a loop"):
        WindowsConfig(overlap=1, shift=2)
    with pytest.raises(InputError, match="12 frames that share 12"):
        SamplingConfig(clip_frames=12, windows=WindowsConfig(overlap=12))
