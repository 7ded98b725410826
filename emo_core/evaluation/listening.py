"""How mouths follow voices in talk films: by kind, by language, and where nobody speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .films import Film
from .measures import (
    MAX_LAG_FRAMES,
    LipSync,
    at_rest_share,
    lip_sync,
    shuffled_lip_sync,
)

SOUNDING_KINDS = ("speech", "song", "rhythm")


@dataclass(frozen=True)
class Group:
    """Lip sync of the films of one kind or language."""

    correlation: float
    """At the lag that suits all films best: a lag of its own would flatter a small group."""
    lag_frames: int
    """Where the group itself agrees best."""
    standard_error: float
    """Of the correlation at that lag, over films."""
    num_films: int


@dataclass(frozen=True, eq=False)
class Listening:
    """What was heard and seen."""

    synced: LipSync
    """Of all films with a voice."""
    shuffled: LipSync
    by_kind: dict[str, Group]
    """Those of SOUNDING_KINDS that there are."""
    by_language: dict[str, Group]
    """Of speech."""
    at_rest: float | None
    """Share of silent frames with the mouth at rest; None where no frame is silent."""
    num_silent_frames: int


def listen(talk: Sequence[Film]) -> Listening:
    """Compare mouths and voices; silence counts in all films, lip sync in those with a voice."""
    heard = [film for film in talk if film.case.utterance.kind != "silence"]
    read = [film.mouth_open_F for film in heard]
    true = [film.case.mouth_open for film in heard]
    synced = lip_sync(read, true)
    kinds = [film.case.utterance.kind for film in heard]
    languages = [
        film.case.utterance.language if film.case.utterance.kind == "speech" else ""
        for film in heard
    ]
    is_silent = [film.case.is_silent for film in talk]
    return Listening(
        synced=synced,
        shuffled=shuffled_lip_sync(read, true),
        by_kind={
            kind: _group(heard, [one == kind for one in kinds], lag_frames=synced.lag_frames)
            for kind in SOUNDING_KINDS
            if kind in kinds
        },
        by_language={
            language: _group(
                heard, [one == language for one in languages], lag_frames=synced.lag_frames
            )
            for language in dict.fromkeys(languages)
            if language
        },
        at_rest=at_rest_share([film.mouth_open_F for film in talk], is_silent),
        num_silent_frames=int(sum(where.sum() for where in is_silent)),
    )


def _group(films: Sequence[Film], is_member: Sequence[bool], *, lag_frames: int) -> Group:
    members = [film for film, is_in in zip(films, is_member, strict=True) if is_in]
    synced = lip_sync(
        [film.mouth_open_F for film in members],
        [film.case.mouth_open for film in members],
        lag_frames=lag_frames,
    )
    return Group(
        correlation=synced.correlation,
        lag_frames=int(synced.curve_L.argmax()) - MAX_LAG_FRAMES,
        standard_error=synced.standard_error,
        num_films=len(members),
    )
