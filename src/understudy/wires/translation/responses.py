"""OpenAI responses to the neutral form, and answers back: for apps that speak it, never for providers.

What a response is chained to, where it is kept and what runs behind it is the provider's own: a request that asks for
any of it is refused, as nobody else can give it. A request that carries all it means is a chat like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.wires.base import Usage, WireError
from understudy.wires.translation.neutral import (
    Ask,
    Finish,
    Losses,
    Media,
    Reply,
    Sampling,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    merged,
    watched,
)
from understudy.wires.translation.openai import (
    finish_reason,
    media_of,
    name_result,
    read_choice,
    read_format,
    read_tools,
)
from understudy.wires.translation.shapes import (
    a_list,
    a_number,
    a_string,
    an_integer,
)

_MEANINGLESS = {
    "store": False,
    "background": False,
    "truncation": "disabled",
    "service_tier": "auto",
    "include": [],
    "metadata": {},
}
"""Values that say what is so anyway: leaving them out loses nothing."""
_REPEATED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "user": None,
}
"""What an answer repeats of its request, and what it says where the request said nothing."""
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is not whole, by the finish reason of a chat."""


def repeated(members: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer repeats of the request it belongs to."""
    said = {name: members.get(name) for name in _REPEATED}
    return {name: _REPEATED[name] if value is None else value for name, value in said.items()}


def read_ask(members: dict[str, Any], losses: Losses) -> Ask:
    refused = _stays(members)
    if refused:
        raise WireError(f"{', '.join(refused)}: the provider's own, which no other can give; say store: false", 501)
    body = losses.watch("", members)
    for name, value in _MEANINGLESS.items():
        if body.get(name) == value:
            body.pop(name)
    body.pop("model", None)
    ask = Ask(stream=body.pop("stream", None) is True)
    instructions = a_string(body.pop("instructions", None), "instructions")
    if instructions:
        ask.system.append(instructions)
    _read_input(ask, body.pop("input", None), losses)
    ask.tools = read_tools(body.pop("tools", None), losses, nested=False)
    ask.choice = read_choice(body.pop("tool_choice", None), losses, nested=False)
    parallel = body.pop("parallel_tool_calls", None)
    ask.parallel = parallel if isinstance(parallel, bool) else None
    text = watched(body.pop("text", None) or {}, "text", losses)
    ask.format = read_format(text.pop("format", None), "text.format", losses, nested=False)
    if text.get("verbosity") == "medium":
        text.pop("verbosity")
    reasoning = watched(body.pop("reasoning", None) or {}, "reasoning", losses)
    ask.effort = a_string(reasoning.pop("effort", None), "reasoning.effort") or None
    options = watched(body.pop("stream_options", None) or {}, "stream_options", losses)
    if options.get("include_obfuscation") is False:
        options.pop("include_obfuscation")
    ask.sampling = Sampling(
        max_tokens=an_integer(body.pop("max_output_tokens", None), "max_output_tokens"),
        temperature=a_number(body.pop("temperature", None), "temperature"),
        top_p=a_number(body.pop("top_p", None), "top_p"),
    )
    ask.user = a_string(body.pop("user", None), "user")
    return ask


def _stays(members: Mapping[str, Any]) -> list[str]:
    """What of a request only the provider can do that the app believes it speaks to."""
    found = [] if members.get("store") is False else ["store"]
    found += ["background"] if members.get("background") is True else []
    found += [name for name in ("previous_response_id", "conversation", "prompt") if members.get(name) is not None]
    items = members.get("input")
    kinds = [item.get("type") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return found + (["item_reference"] if "item_reference" in kinds else [])


def _read_input(ask: Ask, value: object, losses: Losses) -> None:
    if isinstance(value, str):
        ask.turns.append(Turn("user", [Text(value)]))
        return
    for position, item in enumerate(a_list(value, "input")):
        at = f"input[{position}]"
        _read_item(ask, watched(item, at, losses), at, losses)
    ask.turns = merged(ask.turns)  # each call and each result is an item of its own


def _read_item(ask: Ask, item: dict[str, Any], at: str, losses: Losses) -> None:
    kind = item.pop("type", "message")
    for name in ("id", "status", "phase"):  # names and states of what the provider said before
        item.pop(name, None)
    match kind:
        case "message":
            _read_message(ask, item, at, losses)
        case "function_call":
            call = ToolCall(
                a_string(item.pop("call_id", None), f"{at}.call_id"),
                a_string(item.pop("name", None), f"{at}.name"),
                a_string(item.pop("arguments", None), f"{at}.arguments"),
            )
            ask.turns.append(Turn("assistant", [call]))
        case "function_call_output":
            call_id = a_string(item.pop("call_id", None), f"{at}.call_id")
            result = ToolResult(call_id, "", _read_parts(item.pop("output", None), f"{at}.output", losses))
            name_result(ask, result)
            ask.turns.append(Turn("user", [result]))
        case _:
            losses.add(at, f"an item of type {kind!r} has no counterpart")
            item.clear()


def _read_message(ask: Ask, item: dict[str, Any], at: str, losses: Losses) -> None:
    role = item.pop("role", None)
    parts = _read_parts(item.pop("content", None), f"{at}.content", losses)
    match role:
        case "system" | "developer":
            if ask.turns:
                losses.add(at, "a system message in mid-conversation is moved to the front")
            ask.system += [part.text for part in parts if isinstance(part, Text)]
        case "user" | "assistant":
            ask.turns.append(Turn(role, [*parts]))
        case _:
            raise WireError(f"{at}.role is {role!r}, which no other dialect knows")


def _read_parts(content: object, where: str, losses: Losses) -> list[Text | Media]:
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Text | Media] = []
    for position, item in enumerate(a_list(content, where)):
        at = f"{where}[{position}]"
        part = watched(item, at, losses)
        match part.pop("type", None):
            case "input_text" | "output_text":
                parts.append(Text(a_string(part.pop("text", None), f"{at}.text")))
                for name in ("annotations", "logprobs"):
                    if not part.get(name):
                        part.pop(name, None)
            case "refusal":
                parts.append(Text(a_string(part.pop("refusal", None), f"{at}.refusal")))
            case "input_image" if part.get("image_url"):
                parts.append(media_of(a_string(part.pop("image_url"), f"{at}.image_url"), "image/*"))
                if part.get("detail") == "auto":
                    part.pop("detail")
            case "input_file" if part.get("file_data") or part.get("file_url"):
                name = "file_data" if part.get("file_data") else "file_url"
                file = media_of(a_string(part.pop(name), f"{at}.{name}"), "application/pdf")
                file.name = a_string(part.pop("filename", None), f"{at}.filename")
                parts.append(file)
            case kind:
                losses.add(at, f"content of type {kind!r} has no counterpart")
                part.clear()
    return parts


def write_reply(reply: Reply, losses: Losses) -> dict[str, Any]:
    """Without what is repeated of the request."""
    output: list[dict[str, Any]] = []
    for part in reply.parts:
        if isinstance(part, ToolCall):
            output.append(call_item(reply.id, len(output), part))
        elif output and output[-1]["type"] == "message":
            output[-1]["content"][0]["text"] += part.text
        else:
            output.append(message_item(reply.id, len(output), part.text))
    return {**response(reply.id, reply.model), **ended(reply.finish, reply.usage, losses), "output": output}


def response(name: str, model: str) -> dict[str, Any]:
    """An answer that has only begun."""
    return {
        "id": name,
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
        "usage": None,
    }


def ended(finish: Finish, usage: Usage, losses: Losses) -> dict[str, Any]:
    """What is said of an answer once it has ended."""
    cut = _CUT.get(finish_reason(finish, losses))
    return {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "usage": write_usage(usage),
    }


def message_item(response_id: str, position: int, text: str, status: str = "completed") -> dict[str, Any]:
    return {
        "id": f"msg_{response_id}_{position}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [text_part(text)] if status == "completed" else [],
    }


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(response_id: str, position: int, call: ToolCall, status: str = "completed") -> dict[str, Any]:
    return {
        "id": f"fc_{response_id}_{position}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        # A call without arguments is told as one with none: an empty text is no JSON.
        "arguments": call.arguments or ("{}" if status == "completed" else ""),
    }


def write_usage(usage: Usage) -> dict[str, Any] | None:
    """None where nothing was counted. Details are always there in this dialect, null where nobody told them."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
