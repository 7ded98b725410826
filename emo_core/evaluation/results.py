"""All films of an evaluation -> its numbers.

Letters: F frames.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from .cases import CaseSet
from .films import Film
from .measures import (
    LipSync,
    color_drift,
    identity_drift,
    identity_top1,
    lag_curve,
    lip_sync,
    rank_correlation,
    seam_ratio,
    shuffled_lip_sync,
    standard_error,
)
from .reader import LoadedReader

DRIFT_SECONDS = 2.0
"""Length of the start and of the end that are compared in the long film."""
SPEED_DIGITS = 1
"""Head speeds that agree to so many digits share a rank: rounding in a reading is no motion."""


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that was measured."""

    talk: tuple[Film, ...]
    speed: tuple[Film, ...]
    long: Film
    synced: LipSync
    shuffled: LipSync
    likeness_F: np.ndarray
    """Cosine of each frame of the long film to its portrait."""
    metrics: dict[str, float]
    """The numbers of metrics.json's top level."""
    identity_top1_by_film: tuple[float, ...]
    """One per talk film."""
    num_identities: int
    """Portraits among which a frame had to find its own."""


def measure_films(
    films: list[Film], cases: CaseSet, *, loaded: LoadedReader, clip_frames: int
) -> Results:
    """Sum up the films of all cases, which come in the order talk, speed, long."""
    num_talk = len(cases.talk)
    talk, speed, long = tuple(films[:num_talk]), tuple(films[num_talk:-1]), films[-1]
    read = [film.mouth_open_F for film in talk]
    true = [film.case.mouth_open for film in talk]
    synced, shuffled = lip_sync(read, true), shuffled_lip_sync(read, true)
    gallery = loaded.reader.read(cases.gallery).identity_ND.numpy()
    top1 = tuple(
        identity_top1(film.identity_FD, gallery, own_index=i) for i, film in enumerate(talk)
    )
    own = loaded.reader.read(cases.long.picture[None]).identity_ND[0].numpy()
    num_end_frames = max(1, min(round(DRIFT_SECONDS * long.case.fps), long.case.num_frames // 2))
    wanted_speeds = np.array([film.case.speed_deg_s for film in speed])
    read_speeds = np.array([film.mean_speed for film in speed]).round(SPEED_DIGITS)
    metrics = {
        "lip_sync_correlation": synced.correlation,
        "lip_sync_lag_frames": synced.lag_frames,
        "lip_sync_shuffled": shuffled.correlation,
        "identity_top1": float(np.mean(top1)),
        "speed_rank_correlation": rank_correlation(wanted_speeds, read_speeds),
        "region_share": float(np.mean([film.region_share for film in (*talk, *speed)])),
        "seam_ratio": seam_ratio(
            [film.differences for film in (*talk, long)], clip_frames=clip_frames
        ),
        "drift_identity": identity_drift(long.identity_FD, own, num_end_frames=num_end_frames),
        "drift_colour": color_drift(long.color_F3, num_end_frames=num_end_frames),
    }
    return Results(
        talk=talk,
        speed=speed,
        long=long,
        synced=synced,
        shuffled=shuffled,
        likeness_F=long.identity_FD @ own,
        metrics=metrics,
        identity_top1_by_film=top1,
        num_identities=len(gallery),
    )


def details(results: Results, *, loaded: LoadedReader) -> dict[str, object]:
    """Everything behind the top level's numbers."""
    long = results.long
    regions = np.array([film.region_share for film in (*results.talk, *results.speed)])
    return {
        "num_clips": len(results.talk),
        "num_identities": results.num_identities,
        "reader_errors": dataclasses.asdict(loaded.errors),
        "reader_worn_errors": dataclasses.asdict(loaded.worn_errors),
        "standard_errors": {
            "lip_sync_correlation": results.synced.standard_error,
            "lip_sync_shuffled": results.shuffled.standard_error,
            "identity_top1": standard_error(np.array(results.identity_top1_by_film)),
            "region_share": standard_error(regions),
        },
        "lip_sync_by_lag": results.synced.curve_L.tolist(),
        "lip_sync_shuffled_by_lag": results.shuffled.curve_L.tolist(),
        "talk": [
            _talk_details(film, top1)
            for film, top1 in zip(results.talk, results.identity_top1_by_film, strict=True)
        ],
        "speed": [
            {
                "name": film.case.name,
                "requested_deg_s": film.case.speed_deg_s,
                "measured_deg_s": film.mean_speed,
            }
            for film in results.speed
        ],
        "long": {
            "seconds": long.case.num_frames / long.case.fps,
            "likeness_by_second": _by_second(results.likeness_F, fps=long.case.fps),
            "requested_deg_s": long.case.speed_deg_s,
            "measured_deg_s": long.mean_speed,
        },
    }


def _talk_details(film: Film, top1: float) -> dict[str, object]:
    curve = lag_curve(film.mouth_open_F, film.case.mouth_open)
    return {
        "name": film.case.name,
        "voice": f"{film.case.utterance.kind} {film.case.utterance.language}".strip(),
        "lip_sync_correlation": float(curve[len(curve) // 2]),
        "best_lag_frames": int(curve.argmax()) - len(curve) // 2,
        "identity_top1": top1,
        "region_share": film.region_share,
        "motion_in_region": film.motion_in_region,
        "requested_deg_s": film.case.speed_deg_s,
        "measured_deg_s": film.mean_speed,
    }


def _by_second(values_F: np.ndarray, *, fps: float) -> list[float]:
    edges = np.arange(0, len(values_F), round(fps))
    return [float(values_F[edge : edge + round(fps)].mean()) for edge in edges]
