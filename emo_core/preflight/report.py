"""What a pre-flight found: a table for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from .costs import Costs
from .findings import FITS, REFUSED, WARNING, Finding, worst
from .plan import FilmPlan

VERDICTS = {
    FITS: "It fits.",
    WARNING: "It may not fit: see the warnings.",
    REFUSED: "It does not fit: see what is refused.",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """A film's plan, what it costs, and whether it fits."""

    plan: FilmPlan
    costs: Costs | None
    """None where nothing was measured, since it cannot fit."""
    findings: list[Finding]

    @property
    def verdict(self) -> str:
        """The worst level of all findings."""
        return worst(self.findings)

    def seconds(self) -> dict[str, float] | None:
        """Time of every part of the film and, last, of all together."""
        if self.costs is None:
            return None
        parts = self.costs.seconds(self.plan)
        return parts | {"total": sum(parts.values())}

    def refusals(self) -> str:
        """What is refused and why, for an error's message."""
        return " ".join(f.text() for f in self.findings if f.level == REFUSED)

    def text(self) -> str:
        """A table without colours, one finding per line."""
        plan = self.plan
        kind = "windows" if plan.is_in_windows else "clips"
        count = plan.num_passes // plan.steps
        rows = [
            (
                "film",
                f"{plan.num_frames} frames of {plan.width}x{plan.height} at {plan.fps:g} fps: "
                f"{time_text(plan.seconds)}, {plan.pixels / 1e6:.1f} million pixels",
            ),
            (
                "work",
                f"family {plan.family}: {count} {kind} of {plan.clip_frames} frames, "
                f"{plan.steps} steps each: {plan.num_passes} in total",
            ),
            *self._time_rows(),
            *((finding.level, finding.text()) for finding in self.findings),
            ("verdict", VERDICTS[self.verdict]),
        ]
        return "\n".join(f"{name:9}{text}" for name, text in rows)

    def to_json(self) -> str:
        """Everything in the table and behind it; times in seconds, sizes in bytes."""
        plan = dataclasses.asdict(self.plan)
        plan |= {
            "seconds": self.plan.seconds,
            "num_steps": self.plan.num_steps,
            "pixels": self.plan.pixels,
        }
        content = {
            "film": plan,
            "seconds": self.seconds(),
            "measured": None if self.costs is None else dataclasses.asdict(self.costs),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "verdict": self.verdict,
        }
        return json.dumps(content, indent=2)

    def _time_rows(self) -> list[tuple[str, str]]:
        if self.costs is None:
            return [("time", "not measured")]
        seconds, costs = self.seconds(), self.costs
        sampling = costs.sampling
        details = {
            "sample": f"{1000 * sampling.pass_s:.0f} ms a step, {sampling.num_timed} timed: "
            f"{1000 * sampling.fastest_pass_s:.0f} to {1000 * sampling.slowest_pass_s:.0f} ms",
        }
        for name, per_frame_s in (("decode", costs.decode_s), ("write", costs.write_s)):
            if per_frame_s is not None:
                details[name] = f"{1000 * per_frame_s:.1f} ms a frame"
        rows = [("time", f"about {time_text(seconds['total'])} on this machine")]
        for name, part_s in seconds.items():
            if name != "total":
                detail = f" ({details[name]})" if name in details else ""
                rows.append(("", f"{name:8}{time_text(part_s)}{detail}"))
        return rows


def time_text(seconds: float) -> str:
    """Seconds for people: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
