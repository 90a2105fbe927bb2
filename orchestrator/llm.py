"""One call to a language model, over any endpoint that speaks OpenAI's chat protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from orchestrator.errors import LlmError, SettingsError
from orchestrator.secrets import redact

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said, and what it took. `cost` is in the currency of the configured prices, None without."""

    text: str
    input_tokens: int
    output_tokens: int
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A model at an endpoint. Holds no connection; safe to share between threads and to copy to children.

    `timeout_seconds` bounds each request. Timeouts, 429 and 5xx are asked again up to `max_retries` times with
    back-off. Prices are per million tokens. Raises SettingsError when the `llm` extra is not installed.
    """

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    timeout_seconds: float = 60
    max_retries: int = 2
    input_price: float | None = None
    output_price: float | None = None

    def __post_init__(self) -> None:
        if find_spec("openai") is None:
            raise SettingsError("A language model is configured but not installed: pip install 'forkyard[llm]'.")

    def __repr__(self) -> str:
        return f"ChatModel(base_url={redact(self.base_url)!r}, model={self.model!r})"

    def complete(self, system: str, user: str) -> Answer:
        """One question, one answer. Raises LlmError for anything but a text."""
        import openai  # a second to import, and only a failed migration needs it

        try:
            with openai.OpenAI(
                base_url=self.base_url,
                api_key=self.api_key or "none",
                timeout=self.timeout_seconds,
                max_retries=self.max_retries,
            ) as client:
                completion = client.chat.completions.create(
                    model=self.model,
                    messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
                )
        except (openai.OpenAIError, ValueError) as exc:
            reason = self._clean(f"{type(exc).__name__}: {exc}")
            # The SDK's errors hold the request, and with it the key.
            raise LlmError(f"The model {self.model} gave no answer: {reason}", model=self.model) from None
        return self._answer(completion)

    def _answer(self, completion: ChatCompletion) -> Answer:
        # A server that only resembles OpenAI's may leave out anything, or answer with a page of HTML.
        choices = getattr(completion, "choices", None)
        message = getattr(choices[0], "message", None) if choices else None
        text = getattr(message, "content", None)
        if not isinstance(text, str) or not text.strip():
            raise LlmError(f"The model {self.model} answered without a text.", model=self.model)
        usage = getattr(completion, "usage", None)
        spent = int(getattr(usage, "prompt_tokens", 0) or 0), int(getattr(usage, "completion_tokens", 0) or 0)
        return Answer(text=text, input_tokens=spent[0], output_tokens=spent[1], cost=self._cost(*spent))

    def _cost(self, input_tokens: int, output_tokens: int) -> float | None:
        if self.input_price is None or self.output_price is None:
            return None
        return (input_tokens * self.input_price + output_tokens * self.output_price) / _MILLION

    def _clean(self, text: str) -> str:
        if self.api_key:
            text = text.replace(self.api_key, "***")
        return " ".join(redact(text).split())[:500]
