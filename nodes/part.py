"""A part of a graph, between a node that begins it and one that ends it, run again and again.

ComfyUI keeps what its nodes put out until the prompt is done, and so it would keep the frames of
every clip if the part were expanded once per clip. Here ComfyUI's own `execution.execute` runs the
part's nodes, with their ids and links as they are in the prompt, over caches that keep nothing: an
output lives until its last reader has run. What the part reads from outside is handed in.

After `PromptExecutor.execute_async` (ComfyUI 0.33, execution.py), whose loop `PartRunner.run` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import comfy.model_management
from comfy_execution.caching import NullCache
from comfy_execution.graph import DynamicPrompt, ExecutionList
from comfy_execution.graph_utils import is_link
from execution import CacheEntry, CacheSet, ExecutionResult, execute
from server import PromptServer

from nodes import NODE_CLASS_MAPPINGS

from ..emo_core.errors import InputError

Link = tuple[str, int]
"""Id of a node, place among its outputs."""
Values = list[object]
"""What ComfyUI hands on over one link: one value, or several where a node gives a list."""


@dataclass(frozen=True)
class Part:
    """The nodes that a result needs and that need what the beginning gives."""

    begin: str
    """Id of the node that begins the part; not among its nodes."""
    end: Link
    """The result."""
    nodes: frozenset[str]
    """Empty where the beginning's output is the result."""
    outside: tuple[Link, ...]
    """What the nodes read of others that do not need the beginning."""


def find_part(prompt: DynamicPrompt, *, begin: str, end: Link, end_type: str, name: str) -> Part:
    """Find the part of a prompt that ends in a link.

    Args:
        begin: id of the node that begins it.
        end_type: class of nodes that end such a part; those behind one belong to another pair.
        name: of the node that asks, for messages.

    Raises:
        InputError: the link does not come from the beginning, comes from another beginning as
            well, or goes through a node that must not run many times.
    """
    begin_type = prompt.get_node(begin)["class_type"]
    begins = {
        node
        for node in _behind(prompt, end[0], stop_at=end_type)
        if prompt.get_node(node)["class_type"] == begin_type
    }
    if begin not in begins:
        raise InputError(
            f"{name}: the images do not come from the frames of the node whose clips are "
            f"connected ({_title(prompt, begin)}). Expected them to; connect images to the last "
            "node that works on these frames."
        )
    if len(begins) > 1:
        found = ", ".join(_title(prompt, node) for node in sorted(begins))
        raise InputError(
            f"{name}: the images come from the frames of {len(begins)} nodes: {found}. Expected "
            "one; give every film a part of its own."
        )
    readers: dict[str, set[str]] = {}
    for node in _behind(prompt, end[0]):
        for source, _ in _links(prompt, node):
            readers.setdefault(source, set()).add(node)
    nodes: set[str] = set()
    waiting = [begin]
    while waiting:
        new = readers.get(waiting.pop(), set()) - nodes
        nodes |= new
        waiting += new
    for node in sorted(nodes):
        if getattr(NODE_CLASS_MAPPINGS[prompt.get_node(node)["class_type"]], "API_NODE", False):
            raise InputError(
                f"{name}: {_title(prompt, node)} runs on a paid service and would be paid for "
                "every clip. Expected nodes that run here; put it behind Save Video."
            )
    outside = {link for node in nodes for link in _links(prompt, node)}
    outside = {link for link in outside if link[0] != begin and link[0] not in nodes}
    return Part(begin, end, frozenset(nodes), tuple(sorted(outside)))


class PartRunner:
    """Runs a part of the prompt at work; nodes keep their own state between runs.

    Args:
        prompt: the whole, to which the part belongs.
        outside: values of `part.outside`, in its order.
        prompt_id: of the prompt at work.
        extra_data: what was sent along with the prompt, such as the workflow.
    """

    def __init__(
        self,
        part: Part,
        prompt: DynamicPrompt,
        *,
        outside: list[Values],
        prompt_id: str,
        extra_data: dict[str, object],
    ) -> None:
        self.part = part
        self.prompt = prompt
        self.prompt_id = prompt_id
        self.extra_data = extra_data
        self._outside = _entries(dict(zip(part.outside, outside, strict=True)))
        self._objects = _KeptObjects(part.nodes)

    async def run(self, begun: list[object], *, where: str) -> Values:
        """Run every node of the part once.

        Args:
            begun: outputs of the beginning, all of them.
            where: what is being worked on, for messages.

        Returns:
            What the part's last node puts out: one value, or several where it gives a list.

        Raises:
            RuntimeError: a node failed; names it, `where`, and what it said. Running out of memory
                keeps its type, so that ComfyUI sees it.
        """
        node, slot = self.part.end
        if node == self.part.begin:
            return [begun[slot]]
        begun_entry = CacheEntry(ui=None, outputs=[[value] for value in begun])
        outputs = _GivenOutputs(self._outside | {self.part.begin: begun_entry}, wanted=node)
        await self._run_all(outputs, _PartCaches(outputs, self._objects), where=where)
        return outputs.result[slot]

    async def _run_all(self, outputs: _GivenOutputs, caches: CacheSet, *, where: str) -> None:
        prompt = self._own_prompt()
        waiting = ExecutionList(prompt, outputs)
        waiting.add_node(outputs.wanted)
        executed: set[str] = set()
        subgraphs: dict[str, list] = {}
        tasks: dict[str, list] = {}
        shown: dict[str, dict] = {}
        while not waiting.is_empty():
            node, problem, error = await waiting.stage_node_execution()
            if problem is not None:
                raise error
            result, _, error = await execute(
                PromptServer.instance,
                prompt,
                caches,
                node,
                self.extra_data,
                executed,
                self.prompt_id,
                waiting,
                subgraphs,
                tasks,
                shown,
            )
            if result == ExecutionResult.FAILURE:
                self._fail(prompt, node, error, where=where)
            elif result == ExecutionResult.PENDING:
                waiting.unstage_node_execution()
            else:
                waiting.complete_node_execution()

    def _own_prompt(self) -> DynamicPrompt:
        """The prompt as it is, to which nodes may add what they expand into, until the run ends."""
        prompt = DynamicPrompt(self.prompt.original_prompt)
        prompt.ephemeral_prompt = dict(self.prompt.ephemeral_prompt)
        prompt.ephemeral_parents = dict(self.prompt.ephemeral_parents)
        prompt.ephemeral_display = dict(self.prompt.ephemeral_display)
        return prompt

    def _fail(self, prompt: DynamicPrompt, node: str, error: BaseException, *, where: str) -> None:
        if isinstance(error, comfy.model_management.InterruptProcessingException):
            raise error
        while node not in self.part.nodes:  # What a node expanded into fails as that node.
            node = prompt.get_parent_node_id(node)
        message = f"{_title(prompt, node)} failed in {where}: {error}"
        if comfy.model_management.is_oom(error):
            error.args = (message,)
            raise error
        raise RuntimeError(message) from error


class _GivenOutputs(NullCache):
    """Hands out what it was given, and keeps what one node puts out."""

    def __init__(self, given: dict[str, CacheEntry], *, wanted: str) -> None:
        self.given = given
        self.wanted = wanted
        self.result: list[Values] = []

    def get_local(self, node_id: str) -> CacheEntry | None:
        return self.given.get(node_id)

    async def set(self, node_id: str, value: CacheEntry) -> None:
        if node_id == self.wanted:
            self.result = value.outputs


class _KeptObjects(NullCache):
    """Instances of the part's nodes; some load their models into themselves."""

    def __init__(self, node_ids: frozenset[str]) -> None:
        self.node_ids = node_ids
        self.kept: dict[str, object] = {}

    async def get(self, node_id: str) -> object | None:
        return self.kept.get(node_id)

    async def set(self, node_id: str, value: object) -> None:
        if node_id in self.node_ids:
            self.kept[node_id] = value


class _PartCaches(CacheSet):
    def __init__(self, outputs: NullCache, objects: NullCache) -> None:
        self.outputs = outputs
        self.objects = objects
        self.all = [outputs, objects]


def _entries(values: dict[Link, Values]) -> dict[str, CacheEntry]:
    """Values by link as ComfyUI's cache holds them, by node."""
    outputs: dict[str, list[Values]] = {}
    for (node, slot), found in values.items():
        slots = outputs.setdefault(node, [])
        slots += [[] for _ in range(slot + 1 - len(slots))]
        slots[slot] = found
    return {node: CacheEntry(ui=None, outputs=slots) for node, slots in outputs.items()}


def _links(prompt: DynamicPrompt, node: str) -> Iterator[Link]:
    for value in prompt.get_node(node)["inputs"].values():
        if is_link(value):
            yield value[0], int(value[1])


def _behind(prompt: DynamicPrompt, node: str, *, stop_at: str = "") -> set[str]:
    """A node and all that it needs, without what nodes of class `stop_at` need."""
    found = {node}
    waiting = [node]
    while waiting:
        now = waiting.pop()
        if prompt.get_node(now)["class_type"] == stop_at:
            continue
        new = {source for source, _ in _links(prompt, now)} - found
        found |= new
        waiting += new
    return found


def _title(prompt: DynamicPrompt, node: str) -> str:
    entry = prompt.get_node(node)
    title = entry.get("_meta", {}).get("title", entry["class_type"])
    return f"'{title}' (node {node})"
