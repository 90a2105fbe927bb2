"""One call to a model, against a server that behaves in all the ways that servers do."""

from __future__ import annotations

import pytest

from orchestrator.errors import LlmError, SettingsError
from orchestrator.llm import ChatModel
from orchestrator.testing.scripted_llm import Reply, ScriptedLlm

KEY = "sk-very-secret-1234567890"


def model(llm: ScriptedLlm, **changes: float) -> ChatModel:
    return ChatModel(base_url=llm.base_url, model="tiny", api_key=KEY, **{"timeout_seconds": 5, **changes})  # type: ignore[arg-type]


def test_an_answer_comes_with_its_tokens_and_cost() -> None:
    with ScriptedLlm([Reply(text="hello", input_tokens=2000, output_tokens=1000)]) as llm:
        answer = model(llm, input_price=1.0, output_price=4.0).complete("be brief", "hi")
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("hello", 2000, 1000)
    assert answer.cost == pytest.approx(0.006)
    assert llm.asked[0].body["model"] == "tiny"
    assert llm.asked[0].prompt == "be brief\nhi"
    assert llm.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_without_prices_there_is_no_cost() -> None:
    with ScriptedLlm(["x"]) as llm:
        assert model(llm).complete("", "").cost is None


def test_too_many_requests_and_server_errors_are_asked_again() -> None:
    with ScriptedLlm([Reply(status=429), Reply(status=500), "at last"]) as llm:
        assert model(llm, max_retries=2).complete("", "").text == "at last"
    assert len(llm.asked) == 3


def test_a_timeout_is_asked_again() -> None:
    with ScriptedLlm([Reply(text="late", delay_seconds=5), "in time"]) as llm:
        assert model(llm, timeout_seconds=0.2).complete("", "").text == "in time"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500),
        Reply(status=401, text=f"bad key {KEY}"),
        Reply(raw=b"<html>not a model</html>"),
        Reply(raw=b'{"choices": []}'),
        Reply(raw=b'{"choices": [{"message": {"content": null}}]}'),
        Reply(raw=b'{"choices": [{"mess'),
        Reply(raw=b'"just text"'),
        Reply(raw=b'{"choices": "x"}'),
        Reply(text="   "),
        Reply(raw=b""),
    ],
)
def test_anything_but_a_text_is_an_error_without_the_key(reply: Reply) -> None:
    with ScriptedLlm([reply]) as llm, pytest.raises(LlmError) as caught:
        model(llm, max_retries=0).complete("", "")
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_unreachable_endpoint_is_an_error() -> None:
    with ScriptedLlm([]) as llm:
        gone = model(llm, max_retries=0)
    with pytest.raises(LlmError, match="tiny"):
        gone.complete("", "")


def test_the_key_shows_in_no_representation() -> None:
    shown = ChatModel(base_url="https://user:hunter2@host/v1", model="m", api_key=KEY)
    assert KEY not in repr(shown) + str(shown)
    assert "hunter2" not in repr(shown)


def test_a_missing_library_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.llm.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="pip install"):
        ChatModel(base_url="http://x", model="m")


def test_a_script_can_be_a_function_of_the_request() -> None:
    with ScriptedLlm(lambda asked: asked.prompt.upper()) as llm:
        assert model(llm).complete("a", "b").text == "A\nB"
