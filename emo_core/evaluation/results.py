"""All films of one seed -> its numbers.

Letters: F frames.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from .cases import CaseSet
from .films import Film
from .listening import SOUNDING_KINDS, Group, Listening, listen
from .measures import (
    COLOR_LEVELS,
    at_rest_share,
    color_drift,
    identity_drift,
    identity_share,
    identity_top1,
    lag_curve,
    rank_correlation,
    relative_error,
    seam_ratio,
    standard_error,
)
from .reader import LoadedReader

DRIFT_SECONDS = 2.0
"""Length of the start and of the end that are compared in the long film."""
MIDDLE_SPEEDS_DEG_S = (10.0, 35.0)
"""Least and greatest of the speeds whose error counts."""
SPEED_DIGITS = 1
"""Head speeds that agree to so many digits share a rank: rounding in a reading is no motion."""


@dataclass(frozen=True)
class Times:
    """How long the films of a seed took, in seconds."""

    sampling_s: float
    """Denoising alone."""
    making_s: float
    """Conditions, denoising, decoding."""
    film_s: float
    """What they last."""


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that was measured."""

    seed: int
    talk: tuple[Film, ...]
    speed: tuple[Film, ...]
    drawn_speeds: tuple[float, ...]
    """What the reader makes of the true motion of each speed film."""
    long: Film
    listening: Listening
    likeness_F: np.ndarray
    """Cosine of each frame of the long film to its portrait."""
    metrics: dict[str, float | None]
    """The numbers of metrics.json's top level; None where no film shows it."""
    identity_top1_by_film: tuple[float, ...]
    """One per talk film."""
    num_identities: int
    """Portraits among which a frame had to find its own."""


def measure_films(
    films: list[Film],
    cases: CaseSet,
    *,
    loaded: LoadedReader,
    clip_frames: int,
    overlap: int,
    drawn_speeds: list[float],
    times: Times,
) -> Results:
    """Sum up the films of all cases, which come in the order talk, speed, long.

    Args:
        drawn_speeds: of `films.drawn_speed`, one per speed film.
    """
    num_talk = len(cases.talk)
    talk, speed, long = tuple(films[:num_talk]), tuple(films[num_talk:-1]), films[-1]
    listening = listen(talk)
    gallery = loaded.reader.read(cases.gallery).identity_ND.numpy()
    top1 = tuple(
        identity_top1(film.identity_FD, gallery, own_index=i) for i, film in enumerate(talk)
    )
    own = loaded.reader.read(cases.long.picture[None]).identity_ND[0].numpy()
    num_end_frames = max(1, min(round(DRIFT_SECONDS * long.case.fps), long.case.num_frames // 2))
    wanted_speeds = np.array([film.case.speed_deg_s for film in speed])
    read_speeds = np.array([film.mean_speed for film in speed])
    by_language = [group.correlation for group in listening.by_language.values()]
    color_levels = color_drift(long.color_F3, num_end_frames=num_end_frames)
    metrics = {
        "lip_sync_correlation": listening.synced.correlation,
        "lip_sync_lag_frames": listening.synced.lag_frames,
        "lip_sync_shuffled": listening.shuffled.correlation,
        **{
            f"lip_sync_{kind}": listening.by_kind[kind].correlation
            if kind in listening.by_kind
            else None
            for kind in SOUNDING_KINDS
        },
        "lip_sync_worst_language": min(by_language, default=None),
        "silence_at_rest": listening.at_rest,
        "identity_top1": float(np.mean(top1)),
        "speed_rank_correlation": rank_correlation(wanted_speeds, read_speeds.round(SPEED_DIGITS)),
        "speed_error_middle": _middle_error(read_speeds, wanted_speeds),
        "region_share": float(np.mean([film.region_share for film in (*talk, *speed)])),
        "seam_ratio": seam_ratio(
            [film.differences for film in (*talk, long)], clip_frames=clip_frames, overlap=overlap
        ),
        "drift_identity": identity_drift(long.identity_FD, own, num_end_frames=num_end_frames),
        "drift_identity_share": identity_share(
            long.identity_FD, own, num_end_frames=num_end_frames
        ),
        "drift_colour": color_levels,
        "drift_colour_share": color_levels / COLOR_LEVELS,
        "sampling_seconds_per_second": times.sampling_s / times.film_s,
        "making_seconds_per_second": times.making_s / times.film_s,
    }
    return Results(
        seed=long.case.seed,
        talk=talk,
        speed=speed,
        drawn_speeds=tuple(drawn_speeds),
        long=long,
        listening=listening,
        likeness_F=long.identity_FD @ own,
        metrics=metrics,
        identity_top1_by_film=top1,
        num_identities=len(gallery),
    )


def details(results: Results) -> dict[str, object]:
    """Everything behind the numbers of a seed."""
    long, listening = results.long, results.listening
    regions = np.array([film.region_share for film in (*results.talk, *results.speed)])
    wanted_speeds = np.array([film.case.speed_deg_s for film in results.speed])
    return {
        "seed": results.seed,
        "metrics": results.metrics,
        "standard_errors": {
            "lip_sync_correlation": listening.synced.standard_error,
            "lip_sync_shuffled": listening.shuffled.standard_error,
            "identity_top1": standard_error(np.array(results.identity_top1_by_film)),
            "region_share": standard_error(regions),
        },
        "lip_sync_by_lag": listening.synced.curve_L.tolist(),
        "lip_sync_shuffled_by_lag": listening.shuffled.curve_L.tolist(),
        "lip_sync_by_kind": _groups(listening.by_kind),
        "lip_sync_by_language": _groups(listening.by_language),
        "num_silent_frames": listening.num_silent_frames,
        "reader_speed_error_middle": _middle_error(np.array(results.drawn_speeds), wanted_speeds),
        "talk": [
            _talk_details(film, top1)
            for film, top1 in zip(results.talk, results.identity_top1_by_film, strict=True)
        ],
        "speed": [
            {
                "name": film.case.name,
                "requested_deg_s": film.case.speed_deg_s,
                "measured_deg_s": film.mean_speed,
                "drawn_and_measured_deg_s": drawn,
            }
            for film, drawn in zip(results.speed, results.drawn_speeds, strict=True)
        ],
        "long": {
            "seconds": long.case.num_frames / long.case.fps,
            "likeness_by_second": _by_second(results.likeness_F, fps=long.case.fps),
            "requested_deg_s": long.case.speed_deg_s,
            "measured_deg_s": long.mean_speed,
        },
    }


def _middle_error(measured: np.ndarray, wanted: np.ndarray) -> float:
    """Mean relative error of the speeds that are neither very low nor very high."""
    least, greatest = MIDDLE_SPEEDS_DEG_S
    is_middle = (wanted >= least) & (wanted <= greatest)
    return relative_error(measured[is_middle], wanted[is_middle])


def _groups(groups: dict[str, Group]) -> dict[str, object]:
    return {name: dataclasses.asdict(group) for name, group in groups.items()}


def _talk_details(film: Film, top1: float) -> dict[str, object]:
    utterance, is_silent = film.case.utterance, film.case.is_silent
    synced: dict[str, object] = {}
    if utterance.kind != "silence":
        curve = lag_curve(film.mouth_open_F, film.case.mouth_open)
        synced = {
            "lip_sync_correlation": float(curve[len(curve) // 2]),
            "best_lag_frames": int(curve.argmax()) - len(curve) // 2,
        }
    return {
        "name": film.case.name,
        "voice": f"{utterance.kind} {utterance.language}".strip(),
        **synced,
        "num_silent_frames": int(is_silent.sum()),
        "silence_at_rest": at_rest_share([film.mouth_open_F], [is_silent]),
        "identity_top1": top1,
        "region_share": film.region_share,
        "motion_in_region": film.motion_in_region,
        "requested_deg_s": film.case.speed_deg_s,
        "measured_deg_s": film.mean_speed,
    }


def _by_second(values_F: np.ndarray, *, fps: float) -> list[float]:
    edges = np.arange(0, len(values_F), round(fps))
    return [float(values_F[edge : edge + round(fps)].mean()) for edge in edges]
