"""What a step computes at 512 x 512 is what upstream's models compute, less the named savings."""

import pytest
from flops import LIKE, ROUNDING, UPSTREAM, Counter, cost_of, inside, savings, self_attention

from emo_core.models.attention import KeyValue, attend


@pytest.mark.parametrize("family", UPSTREAM)
def test_a_step_is_upstreams_less_the_savings(family: str) -> None:
    cost, upstream = cost_of(family), UPSTREAM[family].step
    assert cost.step + sum(savings(family).values()) == pytest.approx(upstream, abs=ROUNDING)
    assert cost.step < {"hallo": 0.87, "echomimic": 0.87, "v_express": 0.92}[family] * upstream


def test_self_attention_as_predicted() -> None:
    """TFLOP per guided step before and after: 13.07 -> 7.52 of Hallo, 16.7 -> 11.9 of V-Express."""
    hallo, express = (cost_of(family).halves for family in ("hallo", "v_express"))
    after = sum(self_attention(half, "attn1") for half in hallo)
    assert after == pytest.approx(7.52, abs=ROUNDING)
    keys = ("unconditional half attends once", "reference projected once per film")
    assert after + sum(savings("hallo")[key] for key in keys) == pytest.approx(13.07, abs=ROUNDING)
    after = sum(self_attention(half, name) for half in express for name in ("attn1", "attn1_5"))
    assert after == pytest.approx(11.9, abs=0.05)
    keys = ("unconditional half reads no reference", "reference projected once per film")
    before = after + sum(savings("v_express")[key] for key in keys)
    assert before == pytest.approx(16.7, abs=0.05)


def test_audio_modules_as_predicted() -> None:
    """10.74 TFLOP -> 9.11 with every prediction; what is left is each branch's two products in a
    row, `to_out` and `zero_conv`, which could be one."""
    halves, saved = cost_of("hallo").halves, savings("hallo")
    after = sum(inside(half.modules, r"\.audio_modules\.\d+") for half in halves)
    keys = ("audio projected once per clip", "unconditional half hears a constant")
    assert after + sum(saved[key] for key in keys) == pytest.approx(10.74, abs=ROUNDING)
    fusable = inside(halves[0].modules, r"\.zero_conv_(full|face|lip)")
    assert after - fusable == pytest.approx(9.11, abs=ROUNDING)


def test_a_frame_without_guidance() -> None:
    """EchoMimic's accelerated files; upstream takes 1.25 TFLOP a frame."""
    cost, saved = cost_of("echomimic"), savings("echomimic")
    projected = saved["reference projected once per film"] + saved["audio projected once per clip"]
    ours = cost.conditional.step / cost.num_frames
    assert ours + projected / (2 * cost.num_frames) == pytest.approx(1.25, abs=ROUNDING)


@pytest.mark.parametrize("family", UPSTREAM)
def test_preparing_costs_next_to_nothing(family: str) -> None:
    """Against one step, of which a film has 25 and more for each preparation; a window of a family
    that denoises all frames together is prepared anew at every step."""
    cost = cost_of(family)
    assert cost.share < 0.002 * cost.step
    assert cost.prepare < 0.003 * cost.step
    assert cost.prepare_moving < 0.008 * cost.step


def test_reference_nets() -> None:
    """Hallo's reads six images per clip upstream; two of them are the portrait, once per film."""
    hallo = cost_of("hallo")
    assert hallo.reference_per_film + hallo.motion_per_clip == pytest.approx(
        UPSTREAM["hallo"].reference, abs=ROUNDING
    )
    assert hallo.motion_per_clip < 0.67 * UPSTREAM["hallo"].reference
    for family in ("echomimic", "v_express"):
        cost = cost_of(family)
        assert cost.motion_per_clip == 0
        assert cost.reference_per_film == pytest.approx(UPSTREAM[family].reference, abs=ROUNDING)


def test_attention_is_counted() -> None:
    """Two products of 6 x 10 x 16 numbers each, whatever kernel PyTorch takes for it."""
    query, keys = LIKE.new_empty(1, 2, 6, 8), LIKE.new_empty(1, 2, 10, 8)
    with Counter() as counter:
        attend(query, KeyValue(keys, keys))
    assert counter.by_module["Global"] == 2 * 2 * 6 * 10 * 16
