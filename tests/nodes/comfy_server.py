"""A real ComfyUI server in a process of its own, and a client that runs prompts on it."""

import asyncio
import json
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiohttp

TEXT_EVENT = 3
PREVIEW_EVENT = 4
Prompt = dict[str, dict]


@dataclass
class Run:
    """What came of one prompt."""

    history: dict
    events: list[tuple[str, dict]]

    @property
    def status(self) -> str:
        return self.history["status"]["status_str"]

    @property
    def outputs(self) -> dict:
        return self.history["outputs"]

    @property
    def executed(self) -> list[str]:
        """Nodes that really ran, in order; cached ones are not among them."""
        cached = {
            i for kind, data in self.events if kind == "execution_cached" for i in data["nodes"]
        }
        ran = [data["node"] for kind, data in self.events if kind == "executing" and data["node"]]
        return [node for node in ran if node not in cached]

    @property
    def error(self) -> str:
        """The message of the node that failed, or nothing."""
        failed = [data for kind, data in self.events if kind == "execution_error"]
        return f"{failed[0]['node_type']}: {failed[0]['exception_message']}" if failed else ""

    def of(self, kind: str) -> list[dict]:
        return [data for name, data in self.events if name == kind]


@dataclass
class Server:
    """A running ComfyUI."""

    base: Path
    """Holds custom_nodes, models, input, output, temp, user."""
    port: int
    process: subprocess.Popen
    log_path: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get(self, path: str) -> object:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict) -> None:
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).close()

    def run(self, prompt: Prompt, *, interrupt_at: str | None = None, after: int = 1) -> Run:
        """Run a prompt to its end.

        Args:
            interrupt_at: class of the node during which to interrupt.
            after: progress reports of that node to wait for.
        """
        # In a thread of its own: the caller may already be inside an event loop.
        with ThreadPoolExecutor(1) as thread:
            work = self._run(prompt, interrupt_at=interrupt_at, after=after)
            return thread.submit(asyncio.run, work).result()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)

    async def _run(self, prompt: Prompt, *, interrupt_at: str | None, after: int) -> Run:
        client_id = uuid.uuid4().hex
        events: list[tuple[str, dict]] = []
        to_wait = after
        prompt = {key: {"_meta": {"title": key}, **node} for key, node in prompt.items()}
        url = f"http://{self.address}"
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{url}/ws?clientId={client_id}", max_msg_size=0) as stream,
        ):
            features = {"supports_preview_metadata": True}
            await stream.send_json({"type": "feature_flags", "data": features})
            body = {
                "prompt": prompt,
                "client_id": client_id,
                "extra_data": {"preview_method": "latent2rgb"},
            }
            async with http.post(f"{url}/prompt", json=body) as reply:
                answer = await reply.json()
            if "prompt_id" not in answer:
                raise RuntimeError(json.dumps(answer))
            prompt_id = answer["prompt_id"]
            async for message in stream:
                if message.type == aiohttp.WSMsgType.BINARY:
                    kind, size = struct.unpack(">II", message.data[:8])
                    if kind == TEXT_EVENT:
                        node_id = message.data[8 : 8 + size].decode()
                        text = message.data[8 + size :].decode()
                        events.append(("text", {"node_id": node_id, "text": text}))
                    if kind == PREVIEW_EVENT:
                        preview = json.loads(message.data[8 : 8 + size])
                        preview["bytes"] = message.data[8 + size :]
                        events.append(("preview", preview))
                    continue
                event = json.loads(message.data)
                kind, data = event["type"], event["data"]
                events.append((kind, data))
                if kind == "progress_state" and interrupt_at is not None:
                    states = data["nodes"]
                    # What a node expands into counts as that node.
                    running = [
                        state["value"] > 0
                        and prompt[state["display_node_id"]]["class_type"] == interrupt_at
                        for state in states.values()
                        if state["state"] == "running"
                    ]
                    to_wait -= any(running)
                    if to_wait == 0 and any(running):
                        await http.post(f"{url}/interrupt", json={"prompt_id": prompt_id})
                if kind == "executing" and data["node"] is None:
                    break
            async with http.get(f"{url}/history/{prompt_id}") as reply:
                history = (await reply.json())[prompt_id]
        return Run(history=history, events=events)


def start_server(comfyui: Path, base: Path, pack: Path, *, options: tuple[str, ...] = ()) -> Server:
    """Start ComfyUI on the CPU with the pack and nothing else.

    `base` is made into a folder such as a user has; `pack` appears in it as custom_nodes/emo.

    Args:
        options: more of main.py's.
    """
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    (base / "custom_nodes" / "emo").symlink_to(pack, target_is_directory=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log_path = base / "server.log"
    command = [sys.executable, "main.py", "--cpu", "--port", str(port), "--disable-api-nodes"]
    command += ["--base-directory", str(base), "--database-url", "sqlite:///:memory:", *options]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=comfyui, stdout=log, stderr=subprocess.STDOUT)
    server = Server(base=base, port=port, process=process, log_path=log_path)
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended with {process.returncode}:\n{server.log()[-4000:]}")
        try:
            server.get("/system_stats")
            return server
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    server.stop()
    raise RuntimeError(f"ComfyUI did not answer within 5 minutes:\n{server.log()[-4000:]}")


def install(server: Server, folder: str, *paths: Path) -> None:
    """Copy model or input files to where a user would put them."""
    place = server.base / folder
    place.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copy(path, place)
