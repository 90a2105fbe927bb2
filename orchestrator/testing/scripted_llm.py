"""A language model that says what a test tells it to: a small server that speaks OpenAI's chat protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One scripted answer. `raw` replaces the whole body; an error status is sent with a Retry-After of 1 ms."""

    text: str = ""
    status: int = 200
    delay_seconds: float = 0
    raw: bytes | None = None
    input_tokens: int = 100
    output_tokens: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that arrived: its JSON body and its headers (lower-case names)."""

    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(repr=False)

    @property
    def prompt(self) -> str:
        """All messages' contents, joined."""
        return "\n".join(str(message["content"]) for message in self.body.get("messages", ()))


Script = Sequence[str | Reply] | Callable[[Asked], str | Reply]


class ScriptedLlm:
    """Serves scripted answers on loopback while the context is open.

    The script is a sequence (one answer a request; when it is used up, status 400) or a function of the request.
    `base_url` is for a ChatModel; `asked` lists the requests so far. `port` 0 picks a free one.
    """

    def __init__(self, script: Script, *, port: int = 0) -> None:
        self.asked: list[Asked] = []
        self._script = script
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="scripted-llm", daemon=True
        )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            number = len(self.asked)
        if callable(self._script):
            answer = self._script(asked)
        elif number <= len(self._script):
            answer = self._script[number - 1]
        else:
            answer = Reply(status=400, text="The script has no more answers.")
        return Reply(text=answer) if isinstance(answer, str) else answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        llm = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = llm._next(Asked(body=json.loads(content), headers=headers))
                llm._closing.wait(reply.delay_seconds)
                body = _body(reply) if reply.raw is None else reply.raw
                try:
                    self._send(reply.status, body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client's timeout was shorter than the delay

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status != 200:
                    self.send_header("Retry-After-Ms", "1")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Tests' output stays clean."""

        return Handler


def _body(reply: Reply) -> bytes:
    if reply.status != 200:
        return json.dumps({"error": {"message": reply.text or "scripted", "type": "scripted"}}).encode()
    message = {"role": "assistant", "content": reply.text}
    completion = {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    }
    return json.dumps(completion).encode()
