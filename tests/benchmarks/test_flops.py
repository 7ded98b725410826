"""What the published families compute at 512 x 512, next to upstream's own models (`make bench`).

Prints TFLOP, two operations for each multiplication with its addition. The counting, and what is
asserted of it, is in `tests/emo_core/flops.py` and `models/test_flops.py`.
"""

from flops import UPSTREAM, cost_of, savings


def test_table() -> None:
    print(
        "\n" + " " * 13 + "   F  ours/step  upstream  ratio    share  prepare  drawn anew  ", end=""
    )
    print("ReferenceNet per film, per clip")
    for family, upstream in UPSTREAM.items():
        cost = cost_of(family)
        print(
            f"{family:13}{cost.num_frames:4}{cost.step:11.3f}{upstream.step:10.2f}"
            f"{cost.step / upstream.step:7.3f}{cost.share:9.4f}{cost.prepare:9.4f}"
            f"{cost.prepare_moving:12.4f}{cost.reference_per_film:10.3f},{cost.motion_per_clip:6.3f}"
            f" (upstream {upstream.reference:.2f} each time)"
        )
    for family, upstream in UPSTREAM.items():
        cost, saved = cost_of(family), savings(family)
        print(f"{family}: conditional {cost.conditional.step:.3f}, ", end="")
        print(f"unconditional {cost.unconditional.step:.3f}, not computed:")
        for reason, tflop in saved.items():
            print(f"    {reason:44}{tflop:8.4f}")
        left = upstream.step - cost.step - sum(saved.values())
        print(f"    {'not accounted for':44}{left:8.4f}")
