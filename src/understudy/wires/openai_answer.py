"""What an answer of OpenAI chat completions says."""

from __future__ import annotations

from understudy.wires.base import Answer, Usage
from understudy.wires.body import UNREADABLE
from understudy.wires.openai_completion import DECODER, Choice, Counts, Said
from understudy.wires.reading import MAX_COUNT, tool_calls, unreadable

_NO_USAGE = Usage()
_decode = DECODER.decode


def read(status: int, body: bytes) -> Answer:
    try:
        parsed = _decode(body)
    except UNREADABLE:
        return unreadable(status)
    if status >= 400 or parsed.error is not None:
        error = error_kind(parsed.error)
        if status >= 400 or error:
            return Answer(error=error or f"status_{status}")
    choices = parsed.choices
    choice = choices[0] if choices and choices[0].index == 0 else _first(choices)
    text = calls = ended = ""
    if choice is not None:
        ended = choice.finish_reason or ""
        said = choice.message
        if said is not None:
            text = said.content if type(said.content) is str and said.content else text_of(said)
            if said.tool_calls or said.function_call:
                calls = tool_calls(_calls(said))
    # By position: see Answer.
    return Answer(
        text,
        calls,
        ended,
        parsed.model or "",
        parsed.system_fingerprint or "",
        usage(parsed.usage) if parsed.usage is not None else _NO_USAGE,
        True,
        "",
        choice is None,
        False,
        parsed.id or "",
    )


def usage(found: Counts) -> Usage:
    read, written = found.prompt_tokens, found.completion_tokens
    details, reasoning = found.prompt_tokens_details, found.completion_tokens_details
    cached = None if details is None else details.cached_tokens
    thought = None if reasoning is None else reasoning.reasoning_tokens
    # `reading.count` four times, without the calls.
    return Usage(
        read if type(read) is int and 0 <= read <= MAX_COUNT else None,
        written if type(written) is int and 0 <= written <= MAX_COUNT else None,
        cached if type(cached) is int and 0 <= cached <= MAX_COUNT else None,
        thought if type(thought) is int and 0 <= thought <= MAX_COUNT else None,
    )


def error_kind(error: object) -> str:
    """The most telling word of an error object: its code, else its type; "" where there is no error."""
    if error is None:
        return ""
    if isinstance(error, dict):
        for key in ("code", "type"):
            word = error.get(key)
            if isinstance(word, str) and word:
                return word
    return "error"


def _first(choices: list[Choice] | None) -> Choice | None:
    if choices:
        for choice in choices:
            if choice.index == 0:
                return choice
    return None


def text_of(said: Said) -> str:
    content = said.content
    if isinstance(content, str) and content:
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return said.refusal or ""


def _calls(said: Said) -> list[tuple[str, object]]:
    calls: list[tuple[str, object]] = []
    for call in said.tool_calls or ():
        if call.function:
            calls.append((call.function.name or "", call.function.arguments or ""))
        elif call.custom:
            calls.append((call.custom.name or "", call.custom.input or ""))
    if said.function_call:
        calls.append((said.function_call.name or "", said.function_call.arguments or ""))
    return calls
