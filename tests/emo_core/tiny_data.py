"""A toy data set for tests of training."""

import torch

from emo_core.training.latents import FACE_SIGNALS, LatentClips

CLIPS, FRAMES, SIDE = 3, 15, 8


def toy_data(seed: int = 0) -> LatentClips:
    """Clips that differ by person and hardly from frame to frame, so there is a lot to learn."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    person = 1.0 + randn(CLIPS, 1, 4, 1, 1)
    face, mouth = (
        torch.tensor(box).expand(CLIPS, FRAMES, 4)
        for box in ([0.25, 0.25, 0.75, 0.75], [0.375, 0.5, 0.625, 0.75])
    )
    return LatentClips(
        latents=(person + 0.1 * randn(CLIPS, FRAMES, 4, SIDE, SIDE)).half(),
        references=(person + 0.1 * randn(CLIPS, 2, 4, SIDE, SIDE)).half(),
        reference_frames=torch.tensor([[0, -1]]).expand(CLIPS, 2),
        audio=randn(CLIPS, FRAMES, 2, 16).half(),
        face_boxes=face,
        mouth_boxes=mouth,
        speed_deg_s=30 * torch.rand(CLIPS, FRAMES, generator=generator),
        face_signals=torch.rand(CLIPS, FRAMES, len(FACE_SIGNALS), generator=generator),
        latent_scale=torch.tensor(1.0),
    )
