"""OpenAI chat completions to and from the neutral form: requests and whole answers."""

from __future__ import annotations

from typing import Any

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
    choice_of,
    first_few,
    rest,
    watched,
)
from understudy.wires.translation.shapes import (
    a_list,
    a_number,
    a_string,
    an_integer,
    an_object,
    counted,
    or_zero,
    strings,
    without_none,
)

_MEANINGLESS = {"n": 1, "store": False, "logprobs": False, "logit_bias": {}, "modalities": ["text"]}
"""Values that say what is so anyway: leaving them out loses nothing."""

_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}

_MISNAMED = {"image/jpg": "image/jpeg"}
"""Names that this dialect takes and others refuse."""

MAX_STOP = 4
"""Stop sequences of a request."""

FINISHES: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}
_REASONS = {"stop_sequence": "stop", "refusal": "content_filter", "error": "stop"}


def read_ask(members: dict[str, Any], losses: Losses) -> Ask:
    body = losses.watch("", members)
    for name, value in _MEANINGLESS.items():
        if body.get(name) == value:
            body.pop(name)
    ask = Ask(stream=body.pop("stream", None) is True)
    body.pop("model", None)
    options = body.pop("stream_options", None)
    if options is not None:
        watched(options, "stream_options", losses).pop("include_usage", None)
    for position, message in enumerate(a_list(body.pop("messages", None), "messages")):
        _read_message(ask, watched(message, f"messages[{position}]", losses), f"messages[{position}]", losses)
    ask.tools = read_tools(body.pop("tools", None), losses)
    ask.choice = read_choice(body.pop("tool_choice", None), losses)
    parallel = body.pop("parallel_tool_calls", None)
    ask.parallel = parallel if isinstance(parallel, bool) else None
    ask.format = read_format(body.pop("response_format", None), "response_format", losses)
    limit, older = body.pop("max_completion_tokens", None), body.pop("max_tokens", None)
    ask.sampling = Sampling(
        max_tokens=an_integer(older if limit is None else limit, "max_tokens"),
        temperature=a_number(body.pop("temperature", None), "temperature"),
        top_p=a_number(body.pop("top_p", None), "top_p"),
        stop=strings(body.pop("stop", None), "stop"),
        seed=an_integer(body.pop("seed", None), "seed"),
        frequency_penalty=a_number(body.pop("frequency_penalty", None), "frequency_penalty"),
        presence_penalty=a_number(body.pop("presence_penalty", None), "presence_penalty"),
    )
    ask.effort = a_string(body.pop("reasoning_effort", None), "reasoning_effort") or None
    ask.user = a_string(body.pop("user", None), "user")
    return ask


def _read_message(ask: Ask, message: dict[str, Any], where: str, losses: Losses) -> None:
    role = message.pop("role", None)
    content = message.pop("content", None)
    match role:
        case "system" | "developer":
            if ask.turns:
                losses.add(where, "a system message in mid-conversation is moved to the front")
            ask.system += [part.text for part in _read_parts(content, where, losses) if isinstance(part, Text)]
        case "user":
            ask.turns.append(Turn("user", [*_read_parts(content, where, losses)]))
        case "assistant":
            parts: list[Part] = [*_read_parts(content, where, losses)]
            refusal = message.pop("refusal", None)
            if refusal:
                parts.append(Text(a_string(refusal, f"{where}.refusal")))
            parts += read_calls(message.pop("tool_calls", None), f"{where}.tool_calls", losses)
            ask.turns.append(Turn("assistant", parts))
        case "tool":
            result = ToolResult(
                a_string(message.pop("tool_call_id", None), f"{where}.tool_call_id"),
                "",
                _read_parts(content, where, losses),
            )
            name_result(ask, result)
            last = ask.turns[-1] if ask.turns else None
            if last and last.role == "user" and all(isinstance(part, ToolResult) for part in last.parts):
                last.parts.append(result)
            else:
                ask.turns.append(Turn("user", [result]))
        case _:
            raise WireError(f"{where}.role is {role!r}, which no other dialect knows")


def name_result(ask: Ask, result: ToolResult) -> None:
    for turn in reversed(ask.turns):
        for part in turn.parts:
            if isinstance(part, ToolCall) and part.id == result.id:
                result.name = part.name
                return


def _read_parts(content: object, where: str, losses: Losses) -> list[Text | Media]:
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Text | Media] = []
    for position, item in enumerate(a_list(content, f"{where}.content")):
        at = f"{where}.content[{position}]"
        part = watched(item, at, losses)
        kind = part.pop("type", None)
        inner = part.pop(kind, None) if isinstance(kind, str) else None
        match kind:
            case "text" | "refusal":
                parts.append(Text(a_string(inner, at)))
            case "image_url":
                image = watched(inner, f"{at}.image_url", losses)
                parts.append(media_of(a_string(image.pop("url", None), f"{at}.image_url.url"), "image/*"))
                if image.get("detail") == "auto":
                    image.pop("detail")
            case "input_audio":
                audio = watched(inner, f"{at}.input_audio", losses)
                subtype = a_string(audio.pop("format", None), f"{at}.input_audio.format")
                media_type = "audio/mpeg" if subtype == "mp3" else f"audio/{subtype}"
                parts.append(Media(media_type, data=a_string(audio.pop("data", None), f"{at}.input_audio.data")))
            case "file" if isinstance(inner, dict) and "file_data" in inner:
                file = watched(inner, f"{at}.file", losses)
                media = media_of(a_string(file.pop("file_data"), f"{at}.file.file_data"), "application/pdf")
                media.name = a_string(file.pop("filename", None), f"{at}.file.filename")
                parts.append(media)
            case _:
                losses.add(at, f"content of type {kind!r} has no counterpart")
                part.clear()
    return parts


def media_of(url: str, otherwise: str) -> Media:
    if not url.startswith("data:"):
        return Media(otherwise, url=url)
    head, _, data = url.removeprefix("data:").partition(",")
    media_type = head.partition(";")[0].lower()
    return Media(_MISNAMED.get(media_type, media_type) or otherwise, data=data)


def read_calls(value: object, where: str, losses: Losses) -> list[ToolCall]:
    calls = []
    for position, item in enumerate(a_list(value, where)):
        at = f"{where}[{position}]"
        call = watched(item, at, losses)
        kind = call.pop("type", "function")
        if kind != "function":
            losses.add(at, f"a call of type {kind!r} has no counterpart")
            call.clear()
            continue
        function = watched(call.pop("function", None), f"{at}.function", losses)
        calls.append(
            ToolCall(
                a_string(call.pop("id", None), f"{at}.id"),
                a_string(function.pop("name", None), f"{at}.function.name"),
                a_string(function.pop("arguments", None), f"{at}.function.arguments"),
            )
        )
    return calls


def read_tools(value: object, losses: Losses, *, nested: bool = True) -> list[Tool]:
    """Functions; in chats they stand in a member `function` of the tool (`nested`), in responses in the tool itself."""
    tools = []
    for position, item in enumerate(a_list(value, "tools")):
        at = f"tools[{position}]"
        tool = watched(item, at, losses)
        kind = tool.pop("type", None)
        if kind != "function":
            losses.add(at, f"a tool of type {kind!r} has no counterpart")
            tool.clear()
            continue
        where = f"{at}.function" if nested else at
        function = watched(tool.pop("function", None), where, losses) if nested else tool
        schema, strict = function.pop("parameters", None), function.pop("strict", None)
        tools.append(
            Tool(
                a_string(function.pop("name", None), f"{where}.name"),
                a_string(function.pop("description", None), f"{where}.description"),
                an_object(schema, f"{where}.parameters") if schema is not None else None,
                strict if isinstance(strict, bool) else None,
            )
        )
    return tools


def read_choice(value: object, losses: Losses, *, nested: bool = True) -> ToolChoice | None:
    """`nested` as for `read_tools`."""
    match value:
        case None:
            return None
        case "auto" | "none":
            return ToolChoice(value)
        case "required":
            return ToolChoice("any")
        case {"type": "function", "function": {"name": str(name)} as function} if nested:
            rest("tool_choice", value, {"type", "function"}, losses)
            rest("tool_choice.function", function, {"name"}, losses)
            return ToolChoice("tool", name)
        case {"type": "function", "name": str(name)} if not nested:
            rest("tool_choice", value, {"type", "name"}, losses)
            return ToolChoice("tool", name)
    losses.add("tool_choice")
    return None


def read_format(value: object, where: str, losses: Losses, *, nested: bool = True) -> Format | None:
    """The schema stands in a member `json_schema` in chats (`nested`), in the format itself in responses."""
    match value:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return Format()
        case {"type": "json_schema", "json_schema": {"schema": dict(schema), **given}} if nested:
            rest(where, value, {"type", "json_schema"}, losses)
            where = f"{where}.json_schema"
        case {"type": "json_schema", "schema": dict(schema), **given} if not nested:
            pass
        case _:
            losses.add(where)
            return None
    rest(where, given, {"name", "strict"}, losses)
    strict = given.get("strict")
    return Format(schema, a_string(given.get("name"), f"{where}.name"), strict if isinstance(strict, bool) else None)


def write_ask(ask: Ask, losses: Losses) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": text} for text in ask.system]
    for turn in ask.turns:
        messages += _write_turn(turn, losses)
    sampling = ask.sampling
    if sampling.top_k is not None:
        losses.add("top_k")
    if ask.budget:
        losses.add("thinking budget", "only an effort can be asked for")
    return without_none(
        {
            "messages": messages,
            "tools": [_write_tool(tool) for tool in ask.tools] or None,
            "tool_choice": _write_choice(choice_of(ask, losses)),
            "parallel_tool_calls": ask.parallel if ask.tools else None,
            "response_format": _write_format(ask.format),
            "max_completion_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stop": first_few(sampling.stop, MAX_STOP, losses),
            "seed": sampling.seed,
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "reasoning_effort": "none" if ask.budget == 0 else ask.effort,
            "user": ask.user or None,
            "stream": True if ask.stream else None,
            "stream_options": {"include_usage": True} if ask.stream else None,
        }
    )


def _write_turn(turn: Turn, losses: Losses) -> list[dict[str, Any]]:
    if turn.role == "assistant":
        calls = [part for part in turn.parts if isinstance(part, ToolCall)]
        said = [part for part in turn.parts if isinstance(part, Text | Media)]
        message: dict[str, Any] = {"role": "assistant", "content": _write_parts(said, losses) if said else ""}
        if calls and not said:
            message["content"] = None
        if calls:
            message["tool_calls"] = [write_call(call) for call in calls]
        return [message]
    messages: list[dict[str, Any]] = []
    rest: list[Text | Media] = []
    for part in turn.parts:
        if isinstance(part, ToolResult):
            if part.is_error:
                losses.add("tool result is_error", "an error is told by the result's text only")
            texts = [inner for inner in part.parts if isinstance(inner, Text)]
            if len(texts) < len(part.parts):
                losses.add("media in a tool result")
            content = _write_parts(texts, losses) if texts else ""
            messages.append({"role": "tool", "tool_call_id": part.id, "content": content})
        elif isinstance(part, Text | Media):
            rest.append(part)
    if rest or not messages:
        messages.append({"role": "user", "content": _write_parts(rest, losses) if rest else ""})
    return messages


def _write_parts(parts: list[Text] | list[Text | Media], losses: Losses) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    written = []
    for part in parts:
        if isinstance(part, Text):
            written.append({"type": "text", "text": part.text})
        else:
            written += _write_media(part, losses)
    return written


def _write_media(part: Media, losses: Losses) -> list[dict[str, Any]]:
    url = part.url or f"data:{part.media_type};base64,{part.data}"
    if part.media_type.startswith("image/"):
        return [{"type": "image_url", "image_url": {"url": url}}]
    if part.media_type in _AUDIO and part.data:
        return [{"type": "input_audio", "input_audio": {"data": part.data, "format": _AUDIO[part.media_type]}}]
    if part.data:
        return [{"type": "file", "file": without_none({"file_data": url, "filename": part.name or None})}]
    losses.add(f"media {part.media_type}", "cannot be given by its address")
    return []


def write_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _write_tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description or None,
        "parameters": _with_properties(tool.schema),
        "strict": tool.strict,
    }
    return {"type": "function", "function": without_none(function)}


def _with_properties(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """An object without properties is refused here, and how others say that a tool takes no arguments."""
    bare = schema is not None and schema.get("type") == "object" and "properties" not in schema
    return {**schema, "properties": {}} if bare and schema else schema


def _write_choice(choice: ToolChoice | None) -> object:
    if choice is None:
        return None
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.mode == "any" else choice.mode


def _write_format(wanted: Format | None) -> object:
    if wanted is None:
        return None
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = without_none({"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict})
    return {"type": "json_schema", "json_schema": schema}


def read_reply(members: dict[str, Any], losses: Losses) -> Reply:
    choices = a_list(members.get("choices"), "choices")
    if not choices:
        raise WireError("the answer has no choices")
    if len(choices) > 1:
        losses.add("choices", "only the first choice is carried over")
    choice = an_object(choices[0], "choices[0]")
    message = an_object(choice.get("message"), "choices[0].message")
    parts: list[Text | ToolCall] = [
        part for part in _read_parts(message.get("content"), "message", losses) if isinstance(part, Text)
    ]
    refusal = a_string(message.get("refusal"), "message.refusal")
    if refusal:
        parts.append(Text(refusal))
    parts += read_calls(message.get("tool_calls"), "message.tool_calls", losses)
    for name in ("reasoning_content", "annotations", "audio", "function_call"):
        if message.get(name):
            losses.add(f"message.{name}")
    if choice.get("logprobs"):
        losses.add("logprobs")
    reason = read_finish(choice.get("finish_reason"), called=any(isinstance(part, ToolCall) for part in parts))
    return Reply(
        a_string(members.get("id"), "id"),
        a_string(members.get("model"), "model"),
        parts,
        Finish("refusal" if refusal else reason),
        read_usage(members.get("usage")),
    )


def read_finish(reason: object, *, called: bool) -> FinishReason:
    """A call that was demanded by its name ends with `stop` here."""
    found = FINISHES.get(a_string(reason, "finish_reason"), "stop")
    return "tool_calls" if found == "stop" and called else found


def write_reply(reply: Reply, losses: Losses) -> dict[str, Any]:
    text = "".join(part.text for part in reply.parts if isinstance(part, Text))
    calls = [part for part in reply.parts if isinstance(part, ToolCall)]
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
    if calls:
        message["tool_calls"] = [write_call(call) for call in calls]
    return without_none(
        {
            "id": reply.id,
            "object": "chat.completion",
            "created": 0,
            "model": reply.model,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(reply.finish, losses)}
            ],
            "usage": write_usage(reply.usage),
        }
    )


def finish_reason(finish: Finish, losses: Losses) -> str:
    if finish.sequence:
        losses.add("stop sequence", "which one ended the answer cannot be told")
    if finish.reason == "error":
        losses.add("finish reason", "the model's call could not be read: told as stop")
    return _REASONS.get(finish.reason, finish.reason)


def read_usage(value: object) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    return Usage(
        counted(value, "prompt_tokens"),
        counted(value, "completion_tokens"),
        counted(value, "prompt_tokens_details", "cached_tokens"),
        counted(value, "completion_tokens_details", "reasoning_tokens"),
        counted(value, "prompt_tokens_details", "cache_write_tokens"),
    )


def write_usage(usage: Usage) -> dict[str, Any] | None:
    """None where nothing was counted: a count is never invented."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    details = without_none({"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens})
    return without_none(
        {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": or_zero(usage.input_tokens) + or_zero(usage.output_tokens),
            "prompt_tokens_details": details or None,
            "completion_tokens_details": None
            if usage.reasoning_tokens is None
            else {"reasoning_tokens": usage.reasoning_tokens},
        }
    )
