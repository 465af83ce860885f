"""Anthropic messages to and from the neutral form: requests and whole answers."""

from __future__ import annotations

from typing import Any

from understudy.wires.anthropic_messages import DEFAULT_MAX_TOKENS
from understudy.wires.base import Usage, WireError
from understudy.wires.translation.neutral import (
    Ask,
    Finish,
    FinishReason,
    Format,
    Losses,
    Media,
    Part,
    Reply,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
    arguments_are_object,
    choice_of,
    merged,
    names_of_calls,
    rest,
    says_something,
    watched,
    with_a_turn,
)
from understudy.wires.translation.shapes import (
    a_list,
    a_number,
    a_string,
    an_integer,
    an_object,
    counted,
    json_text,
    minus,
    or_zero,
    plus,
    strings,
    without_none,
)

MAX_USER = 256
"""Characters of a user's id."""

EFFORTS = {"minimal": "low"}
"""Efforts this dialect does not know, and the nearest it does."""

FINISHES: dict[str, FinishReason] = {
    "end_turn": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "error": "end_turn"}


def read_ask(members: dict[str, Any], losses: Losses) -> Ask:
    body = losses.watch("", members)
    ask = Ask(stream=body.pop("stream", None) is True)
    body.pop("model", None)
    system = body.pop("system", None)
    ask.system = [part.text for part in _read_parts(system, "system", losses) if isinstance(part, Text)]
    for position, item in enumerate(a_list(body.pop("messages", None), "messages")):
        _read_message(ask, watched(item, f"messages[{position}]", losses), f"messages[{position}]", losses)
    names = names_of_calls(ask.turns)
    for turn in ask.turns:
        for part in turn.parts:
            if isinstance(part, ToolResult):
                part.name = names.get(part.id, "")
    ask.tools = _read_tools(body.pop("tools", None), losses)
    ask.choice, ask.parallel = _read_choice(body.pop("tool_choice", None), losses)
    output = body.pop("output_config", None)
    if output is not None:
        _read_output(ask, watched(output, "output_config", losses), losses)
    _read_thinking(ask, body.pop("thinking", None), losses)
    ask.sampling = Sampling(
        max_tokens=an_integer(body.pop("max_tokens", None), "max_tokens"),
        temperature=a_number(body.pop("temperature", None), "temperature"),
        top_p=a_number(body.pop("top_p", None), "top_p"),
        top_k=an_integer(body.pop("top_k", None), "top_k"),
        stop=strings(body.pop("stop_sequences", None), "stop_sequences"),
    )
    metadata = body.pop("metadata", None)
    if metadata is not None:
        ask.user = a_string(watched(metadata, "metadata", losses).pop("user_id", None), "metadata.user_id")
    return ask


def _read_message(ask: Ask, message: dict[str, Any], where: str, losses: Losses) -> None:
    role = message.pop("role", None)
    content = message.pop("content", None)
    if role == "system":
        losses.add(where, "a system message in mid-conversation is moved to the front")
        ask.system += [part.text for part in _read_parts(content, where, losses) if isinstance(part, Text)]
    elif role in ("user", "assistant"):
        ask.turns.append(Turn(role, _read_parts(content, where, losses)))
    else:
        raise WireError(f"{where}.role is {role!r}, which this dialect does not know")


def _read_parts(content: object, where: str, losses: Losses) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    for position, item in enumerate(a_list(content, where)):
        at = f"{where}[{position}]"
        block = watched(item, at, losses)
        kind = block.pop("type", None)
        match kind:
            case "text":
                parts.append(Text(a_string(block.pop("text", None), at)))
            case "image" | "document":
                media = _read_media(block, at, losses, "image/*" if kind == "image" else "application/pdf")
                if media:
                    parts.append(media)
            case "tool_use":
                arguments = json_text(block.pop("input", None) or {})
                call_id, name = a_string(block.pop("id", None), f"{at}.id"), a_string(block.pop("name", None), at)
                parts.append(ToolCall(call_id, name, arguments))
            case "tool_result":
                inner = _read_parts(block.pop("content", None), f"{at}.content", losses)
                parts.append(
                    ToolResult(
                        a_string(block.pop("tool_use_id", None), f"{at}.tool_use_id"),
                        "",
                        [part for part in inner if isinstance(part, Text | Media)],
                        block.pop("is_error", None) is True,
                    )
                )
            case _:
                losses.add(at, f"content of type {kind!r} has no counterpart")
                block.clear()
    return parts


def _read_media(block: dict[str, Any], where: str, losses: Losses, otherwise: str) -> Media | None:
    """`otherwise` is the type where the source, an address, names none."""
    source = watched(block.pop("source", None), f"{where}.source", losses)
    name = a_string(block.pop("title", None), f"{where}.title")
    match source.pop("type", None):
        case "base64":
            media_type = a_string(source.pop("media_type", None), f"{where}.source.media_type")
            return Media(media_type, data=a_string(source.pop("data", None), f"{where}.source.data"), name=name)
        case "url":
            return Media(otherwise, url=a_string(source.pop("url", None), f"{where}.source.url"), name=name)
        case kind:
            losses.add(where, f"a source of type {kind!r} has no counterpart")
            source.clear()
            return None


def _read_tools(value: object, losses: Losses) -> list[Tool]:
    tools = []
    for position, item in enumerate(a_list(value, "tools")):
        where = f"tools[{position}]"
        tool = watched(item, where, losses)
        if tool.pop("type", None) not in (None, "custom"):
            losses.add(where, "a tool of the provider's own has no counterpart")
            tool.clear()
            continue
        strict = tool.pop("strict", None)
        tools.append(
            Tool(
                a_string(tool.pop("name", None), f"{where}.name"),
                a_string(tool.pop("description", None), f"{where}.description"),
                an_object(tool.pop("input_schema", None), f"{where}.input_schema"),
                strict if isinstance(strict, bool) else None,
            )
        )
    return tools


def _read_choice(value: object, losses: Losses) -> tuple[ToolChoice | None, bool | None]:
    if value is None:
        return None, None
    given = watched(value, "tool_choice", losses)
    single = given.pop("disable_parallel_tool_use", None)
    parallel = (not single) if isinstance(single, bool) else None
    match given.pop("type", None):
        case "auto":
            return ToolChoice("auto"), parallel
        case "any":
            return ToolChoice("any"), parallel
        case "none":
            return ToolChoice("none"), parallel
        case "tool":
            return ToolChoice("tool", a_string(given.pop("name", None), "tool_choice.name")), parallel
    losses.add("tool_choice")
    return None, parallel


def _read_output(ask: Ask, output: dict[str, Any], losses: Losses) -> None:
    ask.effort = a_string(output.pop("effort", None), "output_config.effort") or None
    match output.pop("format", None):
        case None:
            pass
        case {"type": "json_schema", "schema": dict(schema)} as given:
            rest("output_config.format", given, {"type", "schema"}, losses)
            ask.format = Format(schema)
        case _:
            losses.add("output_config.format")


def _read_thinking(ask: Ask, value: object, losses: Losses) -> None:
    if value is None:
        return
    thinking = watched(value, "thinking", losses)
    match thinking.pop("type", None):
        case "enabled":
            ask.budget = an_integer(thinking.pop("budget_tokens", None), "thinking.budget_tokens")
        case "disabled":
            ask.budget = 0
        case kind:
            losses.add("thinking", f"thinking of type {kind!r} has no counterpart")


def write_ask(ask: Ask, losses: Losses) -> dict[str, Any]:
    ask = with_a_turn(ask, losses)
    sampling = ask.sampling
    for name in ("seed", "frequency_penalty", "presence_penalty"):
        if getattr(sampling, name) is not None:
            losses.add(name)
    temperature = sampling.temperature
    if temperature is not None and temperature > 1:
        losses.add("temperature", f"{temperature} is above the highest of this dialect, 1")
        temperature = 1
    body = {
        "max_tokens": DEFAULT_MAX_TOKENS if sampling.max_tokens is None else sampling.max_tokens,
        "system": _write_system(ask.system, losses),
        "messages": [_write_turn(turn, losses) for turn in merged(ask.turns)],
        "tools": [_write_tool(tool) for tool in ask.tools] or None,
        "tool_choice": _write_choice(ask, choice_of(ask, losses)),
        "output_config": _write_output(ask, losses),
        "temperature": temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": _write_stop(sampling.stop, losses),
        "metadata": _write_user(ask.user, losses),
        "stream": True if ask.stream else None,
    }
    if ask.budget == 0 or (ask.budget is None and ask.effort == "none"):
        body["thinking"] = {"type": "disabled"}
    elif ask.budget is not None and ask.budget > 0:
        body["thinking"] = {"type": "enabled", "budget_tokens": ask.budget}
    elif ask.budget is not None:
        losses.add("thinking budget", "a budget the model chooses has no counterpart")
    return without_none(body)


def _takes(text: str, losses: Losses) -> bool:
    """Whether a text may stand by itself here: one of nothing but white space may not."""
    if text and not text.strip():
        losses.add("white space", "a text of nothing else is refused")
    return bool(text.strip())


def _write_system(system: list[str], losses: Losses) -> object:
    texts = [text for text in system if _takes(text, losses)]
    if len(texts) == 1:
        return texts[0]
    return [{"type": "text", "text": text} for text in texts] or None


def _write_stop(stop: list[str], losses: Losses) -> list[str] | None:
    written = [sequence for sequence in stop if sequence.strip()]
    if len(written) < len(stop):
        losses.add("stop", "a sequence of white space alone is refused")
    return written or None


def _write_user(user: str, losses: Losses) -> dict[str, str] | None:
    if "@" in user or len(user) > MAX_USER:
        losses.add("user", f"an e-mail address, or more than {MAX_USER} characters, is refused")
        return None
    return {"user_id": user} if user else None


def _write_turn(turn: Turn, losses: Losses) -> dict[str, Any]:
    if len(turn.parts) == 1 and isinstance(turn.parts[0], Text):
        return {"role": turn.role, "content": turn.parts[0].text}
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    rest = [part for part in turn.parts if not isinstance(part, ToolResult)]
    blocks = [block for part in [*results, *rest] for block in _write_part(part, losses)]
    return {"role": turn.role, "content": blocks}


def _write_said(part: Part, losses: Losses) -> list[dict[str, Any]]:
    """A part of an answer, in which white space may stand by itself."""
    return [{"type": "text", "text": part.text}] if isinstance(part, Text) else _write_part(part, losses)


def _write_part(part: Part, losses: Losses) -> list[dict[str, Any]]:
    if isinstance(part, Text):
        return [{"type": "text", "text": part.text}] if _takes(part.text, losses) else []
    if isinstance(part, ToolCall):
        return [{"type": "tool_use", "id": part.id, "name": part.name, "input": arguments_are_object(part, losses)}]
    if isinstance(part, ToolResult):
        content = [block for inner in part.parts for block in _write_part(inner, losses)]
        result = {"type": "tool_result", "tool_use_id": part.id, "content": content}
        return [result | ({"is_error": True} if part.is_error else {})]
    kind = "image" if part.media_type.startswith("image/") else "document"
    if kind == "document" and part.media_type != "application/pdf":
        losses.add(f"media {part.media_type}")
        return []
    source = (
        {"type": "url", "url": part.url}
        if part.url
        else {"type": "base64", "media_type": part.media_type, "data": part.data}
    )
    return [without_none({"type": kind, "source": source, "title": part.name or None})]


def _write_tool(tool: Tool) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}} if not tool.schema else tool.schema
    return without_none(
        {"name": tool.name, "description": tool.description or None, "input_schema": schema, "strict": tool.strict}
    )


def _write_choice(ask: Ask, choice: ToolChoice | None) -> dict[str, Any] | None:
    if choice is None:
        if ask.parallel is None or not ask.tools:
            return None
        choice = ToolChoice("auto")
    written: dict[str, Any] = {"type": choice.mode}
    if choice.mode == "tool":
        written["name"] = choice.name
    if ask.parallel is not None and choice.mode != "none":
        written["disable_parallel_tool_use"] = not ask.parallel
    return written


def _write_output(ask: Ask, losses: Losses) -> dict[str, Any] | None:
    effort = ask.effort
    if effort in EFFORTS:
        losses.add("reasoning effort", f"{effort} is told as {EFFORTS[effort]}")
        effort = EFFORTS[effort]
    wanted = None
    if ask.format is not None and ask.format.schema is None:
        losses.add("JSON mode", "JSON without a schema cannot be asked for")
    elif ask.format is not None:
        wanted = {"type": "json_schema", "schema": ask.format.schema}
    return without_none({"effort": None if effort == "none" else effort, "format": wanted}) or None


def read_reply(members: dict[str, Any], losses: Losses) -> Reply:
    parts: list[Text | ToolCall] = []
    for part in _read_parts(members.get("content"), "content", losses):
        if isinstance(part, Text | ToolCall):
            parts.append(part)
    reason = FINISHES.get(a_string(members.get("stop_reason"), "stop_reason"), "stop")
    return Reply(
        a_string(members.get("id"), "id"),
        a_string(members.get("model"), "model"),
        parts,
        Finish(reason, a_string(members.get("stop_sequence"), "stop_sequence")),
        read_usage(members.get("usage")),
    )


def write_reply(reply: Reply, losses: Losses) -> dict[str, Any]:
    reason, sequence = finish_reason(reply.finish, losses)
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [block for part in reply.parts if says_something(part) for block in _write_said(part, losses)],
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": write_usage(reply.usage, losses),
    }


def finish_reason(finish: Finish, losses: Losses) -> tuple[str, str | None]:
    if finish.reason == "error":
        losses.add("finish reason", "the model's call could not be read: told as end_turn")
    return _REASONS.get(finish.reason, finish.reason), finish.sequence or None


def read_usage(value: object) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    fresh = counted(value, "input_tokens")
    cached, written = counted(value, "cache_read_input_tokens"), counted(value, "cache_creation_input_tokens")
    return Usage(
        None if fresh is None else plus(plus(fresh, cached), written),
        counted(value, "output_tokens"),
        cached,
        counted(value, "output_tokens_details", "thinking_tokens"),
        written,
    )


def write_usage(usage: Usage, losses: Losses) -> dict[str, Any]:
    """This dialect cannot leave the counts out: unknown ones are told as 0, and that is a loss."""
    if usage.input_tokens is None or usage.output_tokens is None:
        losses.add("usage", "the provider counted no tokens: told as 0")
    thoughts = usage.reasoning_tokens
    return without_none(
        {
            "input_tokens": or_zero(minus(usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens)),
            "output_tokens": or_zero(usage.output_tokens),
            "cache_read_input_tokens": usage.cached_tokens,
            "cache_creation_input_tokens": usage.cache_write_tokens,
            "output_tokens_details": None if thoughts is None else {"thinking_tokens": thoughts},
        }
    )
