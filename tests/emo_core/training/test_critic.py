"""The critic: what it learns, whom its losses reach, and how strongly losses pull together."""

import pytest
import torch
from torch import Tensor, nn

from emo_core.training.balance import UsualLengths, balance, gradient_length
from emo_core.training.critic import Critic, hinge_losses


def numbered(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy_critic() -> Critic:
    torch.manual_seed(0)
    return Critic(3, widths=(8, 8), strides=(1, 2))


def test_each_loss_reaches_only_the_network_that_it_is_for() -> None:
    critic = toy_critic()
    true, made = torch.randn(2, 4, 3, 8, 8, generator=numbered(0))
    made.requires_grad_(True)
    of_critic, of_maker = hinge_losses(critic, true, made)
    of_maker.backward()
    assert made.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    made.grad = None
    of_critic.backward()
    assert made.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())


def test_maker_and_critic_pull_in_opposite_directions() -> None:
    critic = toy_critic()
    true, made = torch.randn(2, 4, 3, 8, 8, generator=numbered(0))
    made.requires_grad_(True)
    before = critic(made).mean()
    _, of_maker = hinge_losses(critic, true, made)
    (gradient,) = torch.autograd.grad(of_maker, made)
    assert critic(made - 0.1 * gradient / gradient.norm()).mean() > before


def test_a_critic_tells_the_data_from_what_is_not() -> None:
    critic = toy_critic()
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    generator = numbered(0)

    def draw() -> tuple[Tensor, Tensor]:
        """Sharp pictures, and their blurred means."""
        sharp = torch.randint(2, (8, 3, 8, 8), generator=generator).float() * 2 - 1
        return sharp, nn.functional.avg_pool2d(sharp, 3, stride=1, padding=1)

    for _ in range(60):
        loss, _ = hinge_losses(critic, *draw())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sharp, blurred = draw()
    assert critic(sharp).mean() > 0.5
    assert critic(blurred).mean() < -0.5


def test_balance_makes_the_gradients_of_one_length() -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    main, other = (weight * torch.tensor([3.0, 4.0])).sum(), weight[0] * 20.0
    lengths = [gradient_length(loss, weight) for loss in (main, other)]
    assert float(balance(*lengths)) == pytest.approx(5.0 / 20.0, rel=1e-4)


def test_a_batch_that_asks_nothing_of_a_loss_does_not_let_it_take_over() -> None:
    """Speed that was left out, in clips of pure noise, pulls nowhere."""
    usual, weight = UsualLengths("error"), torch.tensor([3.0, 4.0], requires_grad=True)
    some = {name: weight.square().sum() for name in ("error", "critic", "reader")}
    assert usual.factor("speed") == 0
    usual.measure(some | {"speed": 0.5 * weight.square().sum()}, weight)
    assert float(usual.factor("speed")) == pytest.approx(2.0, rel=1e-4)
    usual.measure(some | {"speed": 0.0 * weight.sum()}, weight)
    assert float(usual.factor("speed")) == pytest.approx(2.0, rel=1e-4)
    usual.measure(some | {"speed": 1e-6 * weight.square().sum()}, weight)
    assert float(usual.factor("speed")) == pytest.approx(2.0 / 0.9, rel=1e-3)
    assert float(usual.factor("critic")) == pytest.approx(1.0, rel=1e-4)


def test_nothing_pulls_before_the_error_was_measured() -> None:
    usual, weight = UsualLengths("error"), torch.tensor([3.0, 4.0], requires_grad=True)
    usual.measure({"error": 0.0 * weight.sum(), "critic": weight.square().sum()}, weight)
    assert usual.factor("critic") == 0


def test_places_that_count_more_draw_the_critics_pull() -> None:
    critic, true = toy_critic().eval(), torch.rand(2, 3, 8, 8, generator=numbered(0))
    made = torch.rand(2, 3, 8, 8, generator=numbered(1)).requires_grad_(True)
    plain = hinge_losses(critic, true, made)
    torch.testing.assert_close(
        hinge_losses(critic, true, made, torch.full((2, 1, 8, 8), 3.0)), plain
    )
    only_left = torch.zeros(2, 1, 8, 8)
    only_left[..., :2] = 1.0
    of_critic, of_maker = hinge_losses(critic, true, made, only_left)
    judged = critic(made)[..., 0]
    torch.testing.assert_close(of_maker, -judged.mean())
    expected = (1.0 - critic(true)[..., 0]).relu().mean() + (1.0 + judged).relu().mean()
    torch.testing.assert_close(of_critic, expected)
    of_maker.backward()
    assert made.grad[..., :2].abs().sum() > 0
    assert not made.grad[..., 6:].any()
