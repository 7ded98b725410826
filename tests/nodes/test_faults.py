"""Interrupts, no memory, damage in ComfyUI: finished clips stay, the film comes out the same."""

import errno
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
import torch
from damage import change_a_bit, cut_short, remove
from graph import Graph, make_graph, sample
from striking import Failing, at_call
from tally import Tally

NUM_CLIPS, STEPS = 8, 3
"""Of four frames, the last of two."""
CALLS_PER_CLIP = 2 * STEPS


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy, seconds=1.2)


@pytest.fixture
def store(pack, tmp_path: Path) -> Path:
    """An empty store."""
    import folder_paths

    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path))
    yield tmp_path / "emo_clips"
    folder_paths.set_user_directory(before)


class Films:
    """One film, made by the guider again and again; the rule is held after every fault."""

    def __init__(self, kind: str, graph: Graph, store: Path, tally: Tally) -> None:
        self.kind, self.graph, self.store, self.tally = kind, graph, store, tally
        self.film, made = self.make()
        self.whole = self.entries()
        assert made == len(self.whole) == NUM_CLIPS

    def make(self) -> tuple[torch.Tensor, int]:
        """The film, and how many clips were really made."""
        guider, latent = self.graph.guider(keep_clips=True)
        sampler, sigmas = self.graph.node("DDIM").execute(self.graph.model, STEPS).args
        film = sample(guider, latent, sampler, sigmas)
        return film, NUM_CLIPS - guider.num_recalled

    def entries(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.store.glob("*.safetensors")}

    def go_on(self) -> int:
        """Begin again where the film is finished; return how many clips are missing."""
        missing = NUM_CLIPS - len(self.entries())
        if missing:
            return missing
        self.finish()
        shutil.rmtree(self.store)
        return NUM_CLIPS

    def strike(self, fault: AbstractContextManager[None], raised: type[BaseException]) -> None:
        before = self.entries()
        with pytest.raises(raised), fault:
            self.make()
        self.hold(before)

    def hold(self, before: dict[str, bytes]) -> None:
        after = self.entries()
        lost = [name for name in before if after.get(name) != self.whole[name]]
        self.tally.count(self.kind, lost=len(lost))
        assert not lost
        assert all(self.whole[name] == content for name, content in after.items())
        assert not [*self.store.glob(".*")]

    def finish(self) -> None:
        missing = NUM_CLIPS - len(self.entries())
        film, made = self.make()
        assert made == missing and torch.equal(film, self.film)
        assert self.entries() == self.whole


def test_interrupted(graph: Graph, store: Path, tally: Tally) -> None:
    """As by the button: ComfyUI's flag is up, and its own code raises."""
    import comfy.model_management as management

    films = Films("nodes: interrupted", graph, store, tally)
    for rng in tally.planned(films.kind):
        number = rng.randint(1, CALLS_PER_CLIP * min(2, films.go_on()))

        def press(*call: object) -> None:
            management.interrupt_current_processing(True)
            management.throw_exception_if_processing_interrupted()

        backbone = type(graph.model.model.diffusion_model)
        fault = at_call(backbone, "forward", number, press)
        films.strike(fault, management.InterruptProcessingException)
    films.finish()


def test_the_model_has_no_memory(graph: Graph, store: Path, tally: Tally) -> None:
    films = Films("nodes: no memory in the model", graph, store, tally)
    for rng in tally.planned(films.kind):
        number = rng.randint(1, CALLS_PER_CLIP * min(2, films.go_on()))

        def full(*call: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        backbone = type(graph.model.model.diffusion_model)
        films.strike(at_call(backbone, "forward", number, full), torch.OutOfMemoryError)
    films.finish()


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("nodes: entry cut short", cut_short),
        ("nodes: entry with a changed bit", change_a_bit),
        ("nodes: entry gone", remove),
    ],
)
def test_damaged_entries_are_made_again_and_no_others(
    graph: Graph, store: Path, tally: Tally, kind: str, damage: Callable[[Path, Random], None]
) -> None:
    films = Films(kind, graph, store, tally)
    for rng in tally.planned(kind):
        damaged = rng.sample(sorted(films.whole), rng.randint(1, 2))
        for name in damaged:
            damage(store / name, rng)
        before = {name: films.whole[name] for name in films.whole if name not in damaged}
        film, made = films.make()
        assert made == len(damaged) and torch.equal(film, films.film)
        films.hold(before)
        assert films.entries() == films.whole


def test_the_disk_has_no_room_for_latents(
    graph: Graph, store: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one-node way lays the film's latents in a file: that fails, the clips are kept."""
    import emo_pack.emo_core.files.on_disk as on_disk
    from emo_pack.emo_core.errors import InputError
    from server import PromptServer

    class Listening:
        def send_progress_text(self, text: str, node_id: str) -> None:
            pass

    monkeypatch.setattr(PromptServer, "instance", Listening(), raising=False)
    sampler = graph.node("Sampler").PREPARE_CLASS_CLONE(None)
    chosen = graph.film_inputs() | {"keep_clips": True, "seed": 5, "guidance": 2.0}

    def make() -> torch.Tensor:
        chosen_sampler = {"steps": STEPS, "sampler_name": "euler", "scheduler": "simple"}
        with torch.inference_mode():
            return sampler.execute(**chosen, **chosen_sampler).args[0]["samples"]

    kind = "nodes: no room for latents"
    film = make().clone()
    whole = {path.name: path.read_bytes() for path in store.glob("*.safetensors")}
    make_file = on_disk.tempfile.TemporaryFile
    for rng in tally.planned(kind):
        shutil.rmtree(store)
        number = rng.randint(1, NUM_CLIPS)
        full = OSError(errno.ENOSPC, "No space left on device")

        def full_file(number: int = number, full: OSError = full, **options: object) -> Failing:
            return Failing(make_file(**options), "write", number, full)

        with (
            patch.object(on_disk.tempfile, "TemporaryFile", full_file),
            pytest.raises(InputError, match="the disk is full"),
        ):
            make()
        kept = {path.name: path.read_bytes() for path in store.glob("*.safetensors")}
        tally.count(kind, lost=number - len(kept))
        assert len(kept) == number and kept.items() <= whole.items()
        assert torch.equal(make(), film)
