"""After all the others: so many injections as planned, at least a hundred, and no clip lost."""

from pathlib import Path

import pytest
from tally import LEAST, PLAN, Tally


def test_at_least_a_hundred_injections_cost_no_finished_clip(
    request: pytest.FixtureRequest, tally: Tally
) -> None:
    here = Path(__file__).parent
    ran = {item.path for item in request.session.items}
    is_chosen = any(request.config.getoption(name) for name in ("keyword", "deselect", "lf"))
    if is_chosen or not set(here.glob("test_*.py")) - {here / "test_command_line.py"} <= ran:
        pytest.skip("counts only where all of these tests run")
    assert {kind: tally.injected[kind] for kind in PLAN} == {
        kind: number * tally.times for kind, number in PLAN.items()
    }
    assert sum(tally.injected[kind] for kind in PLAN) >= LEAST
    assert not tally.lost.total()
