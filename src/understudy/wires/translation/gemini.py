"""Gemini generateContent to and from the neutral form: requests and whole answers.

Members come in camel or snake case and leave in camel case. A call without an id gets one from its place, which is
the same on both sides of a conversation.
"""

from __future__ import annotations

from typing import Any

from understudy.wires.base import Usage, WireError
from understudy.wires.gemini_generate import camel
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
    first_few,
    merged,
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
    plus,
    strings,
    without_none,
)

FINISHES: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "OTHER": "stop",
}
"""All other reasons are one kind of refusal or another."""
_REASONS = {"length": "MAX_TOKENS", "refusal": "SAFETY", "error": "MALFORMED_FUNCTION_CALL"}

_IMAGE_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}

MAX_STOP = 5
"""Stop sequences of a request."""

EFFORTS = {"max": "xhigh"}
"""Efforts this dialect does not know, and the nearest it does."""


def in_camel(value: object, where: str, losses: Losses) -> dict[str, Any]:
    """An object with its members in camel case, watched; in this dialect a member that is null is not there."""
    members = {camel(key): inner for key, inner in an_object(value, where).items() if inner is not None}
    return losses.watch(where, members)


def listed(value: object, where: str) -> list[Any]:
    """An array; this dialect takes an object for an array of one."""
    return [value] if isinstance(value, dict) else a_list(value, where)


def read_ask(members: dict[str, Any], losses: Losses) -> Ask:
    body = in_camel(members, "", losses)
    ask = Ask()
    body.pop("model", None)
    ask.system = _read_system(body.pop("systemInstruction", None), losses)
    pending: list[tuple[str, str]] = []
    for position, content in enumerate(listed(body.pop("contents", None), "contents")):
        ask.turns.append(_read_content(in_camel(content, f"contents[{position}]", losses), position, pending, losses))
    ask.tools = _read_tools(body.pop("tools", None), losses)
    ask.choice = _read_choice(body.pop("toolConfig", None), losses)
    _read_config(ask, in_camel(body.pop("generationConfig", None) or {}, "generationConfig", losses), losses)
    return ask


def _read_system(value: object, losses: Losses) -> list[str]:
    if value is None or isinstance(value, str):
        return [value] if value else []
    instruction = in_camel(value, "systemInstruction", losses)
    instruction.pop("role", None)
    parts = listed(instruction.pop("parts", None), "systemInstruction.parts")
    texts = []
    for position, part in enumerate(parts):
        at = f"systemInstruction.parts[{position}]"
        texts.append(a_string(in_camel(part, at, losses).pop("text", None), f"{at}.text"))
    return texts


def _read_content(content: dict[str, Any], position: int, pending: list[tuple[str, str]], losses: Losses) -> Turn:
    """`pending` are the calls (name, id) without a result yet: a result without an id answers the first of its name."""
    where = f"contents[{position}]"
    role = content.pop("role", "user")
    if role not in ("user", "model", "function"):
        raise WireError(f"{where}.role is {role!r}, which this dialect does not know")
    parts: list[Part] = []
    for number, item in enumerate(listed(content.pop("parts", None), f"{where}.parts")):
        at = f"{where}.parts[{number}]"
        part = in_camel(item, at, losses)
        if "functionResponse" in part:
            result = in_camel(part.pop("functionResponse"), f"{at}.functionResponse", losses)
            parts.append(_read_result(result, at, pending))
            continue
        read = read_part(part, f"call_{position}_{number}", at, losses)
        if isinstance(read, ToolCall):
            pending.append((read.name, read.id))
        if read is not None:
            parts.append(read)
    return Turn("assistant" if role == "model" else "user", parts)


def read_part(part: dict[str, Any], call_id: str, where: str, losses: Losses) -> Text | Media | ToolCall | None:
    """One part in camel case; None where it has no counterpart. Thoughts and their signatures are not carried over."""
    if part.pop("thoughtSignature", None):
        losses.add("thought signatures")
    if part.pop("thought", None):
        losses.add("thoughts")
        part.clear()
        return None
    if "functionCall" in part:
        call = in_camel(part.pop("functionCall"), f"{where}.functionCall", losses)
        name = a_string(call.pop("name", None), f"{where}.functionCall.name")
        arguments = json_text(call.pop("args", None) or {})
        return ToolCall(a_string(call.pop("id", None), f"{where}.functionCall.id") or call_id, name, arguments)
    if "text" in part:
        return Text(a_string(part.pop("text"), f"{where}.text"))
    if "inlineData" in part:
        blob = in_camel(part.pop("inlineData"), f"{where}.inlineData", losses)
        return Media(a_string(blob.pop("mimeType", None), where), data=a_string(blob.pop("data", None), where))
    if "fileData" in part:
        file = in_camel(part.pop("fileData"), f"{where}.fileData", losses)
        media_type = a_string(file.pop("mimeType", None), where) or "image/*"
        return Media(media_type, url=a_string(file.pop("fileUri", None), where))
    losses.add(where, f"a part of {', '.join(sorted(part)) or 'nothing'} has no counterpart")
    part.clear()
    return None


def _read_result(result: dict[str, Any], where: str, pending: list[tuple[str, str]]) -> ToolResult:
    name = a_string(result.pop("name", None), f"{where}.name")
    call_id = a_string(result.pop("id", None), f"{where}.id")
    if not call_id:
        call_id = next((found for known, found in pending if known == name), f"call_{name}")
    if (name, call_id) in pending:
        pending.remove((name, call_id))
    response = result.pop("response", None)
    match response:
        case {"error": str(text)} if len(response) == 1:
            return ToolResult(call_id, name, [Text(text)], is_error=True)
        case {"output": str(text)} | {"result": str(text)} if len(response) == 1:
            return ToolResult(call_id, name, [Text(text)])
    return ToolResult(call_id, name, [Text(json_text(response))])


def _read_tools(value: object, losses: Losses) -> list[Tool]:
    tools = []
    for position, item in enumerate(listed(value, "tools")):
        at = f"tools[{position}]"
        declarations = in_camel(item, at, losses).pop("functionDeclarations", None)
        for declaration in listed(declarations, f"{at}.functionDeclarations"):
            function = in_camel(declaration, f"{at}.functionDeclarations", losses)
            schema = function.pop("parametersJsonSchema", None)
            older = function.pop("parameters", None)
            name = a_string(function.pop("name", None), f"{at}.functionDeclarations.name")
            description = a_string(function.pop("description", None), f"{at}.functionDeclarations.description")
            if schema is None and older is not None:
                schema = json_schema(older)
            tools.append(Tool(name, description, None if schema is None else an_object(schema, f"schema of {name}")))
    return tools


def json_schema(schema: object) -> object:
    """This dialect's own schema as a JSON Schema: types in lower case, `nullable` as a second type."""
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        name = camel(key)
        match name:
            case "type" if isinstance(value, str):
                out["type"] = value.lower()
            case "properties" if isinstance(value, dict):
                out["properties"] = {key: json_schema(inner) for key, inner in value.items()}
            case "items" | "anyOf":
                out[name] = json_schema(value)
            case "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties":
                out[name] = int(value) if isinstance(value, str) and value.isdigit() else value
            case "nullable" | "propertyOrdering":
                pass
            case _:
                out[name] = value
    if schema.get("nullable") is True and "type" in out:
        out["type"] = [out["type"], "null"]
    return out


def _read_choice(value: object, losses: Losses) -> ToolChoice | None:
    if value is None:
        return None
    given = in_camel(value, "toolConfig", losses).pop("functionCallingConfig", None)
    config = in_camel(given or {}, "functionCallingConfig", losses)
    allowed = strings(config.pop("allowedFunctionNames", None), "allowedFunctionNames")
    match config.pop("mode", None):
        case "ANY" if len(allowed) == 1:
            return ToolChoice("tool", allowed[0])
        case "ANY":
            if allowed:
                losses.add("allowedFunctionNames", "several names cannot be demanded, any tool is")
            return ToolChoice("any")
        case "NONE":
            return ToolChoice("none")
        case "AUTO":
            return ToolChoice("auto")
        case None | "MODE_UNSPECIFIED":
            return None
    losses.add("toolConfig.functionCallingConfig.mode")
    return None


def _read_config(ask: Ask, config: dict[str, Any], losses: Losses) -> None:
    ask.sampling = Sampling(
        max_tokens=an_integer(config.pop("maxOutputTokens", None), "maxOutputTokens"),
        temperature=a_number(config.pop("temperature", None), "temperature"),
        top_p=a_number(config.pop("topP", None), "topP"),
        top_k=_whole(config.pop("topK", None)),
        stop=strings(config.pop("stopSequences", None), "stopSequences"),
        seed=an_integer(config.pop("seed", None), "seed"),
        frequency_penalty=a_number(config.pop("frequencyPenalty", None), "frequencyPenalty"),
        presence_penalty=a_number(config.pop("presencePenalty", None), "presencePenalty"),
    )
    schema, older = config.pop("responseJsonSchema", None), config.pop("responseSchema", None)
    if schema is None and older is not None:
        schema = json_schema(older)
    mime = config.pop("responseMimeType", None)
    if mime == "application/json":
        ask.format = Format(None if schema is None else an_object(schema, "responseSchema"))
    elif mime not in (None, "text/plain"):
        losses.add("responseMimeType")
    thinking = config.pop("thinkingConfig", None)
    if thinking is not None:
        given = in_camel(thinking, "thinkingConfig", losses)
        ask.budget = an_integer(given.pop("thinkingBudget", None), "thinkingBudget")
        ask.effort = a_string(given.pop("thinkingLevel", None), "thinkingLevel").lower() or None
        if given.get("includeThoughts") is False:
            given.pop("includeThoughts")
    if config.get("candidateCount") == 1:
        config.pop("candidateCount")


def _whole(value: object) -> int | None:
    """topK is a float on this wire."""
    number = a_number(value, "topK")
    return None if number is None else int(number)


def write_ask(ask: Ask, losses: Losses) -> dict[str, Any]:
    ask = with_a_turn(ask, losses)
    system = [text for text in ask.system if text]
    if ask.user:
        losses.add("user")
    if ask.parallel is False:
        losses.add("parallel tool calls", "cannot be forbidden")
    config = without_none(
        {
            "maxOutputTokens": ask.sampling.max_tokens,
            "temperature": ask.sampling.temperature,
            "topP": ask.sampling.top_p,
            "topK": ask.sampling.top_k,
            "stopSequences": first_few(ask.sampling.stop, MAX_STOP, losses),
            "seed": ask.sampling.seed,
            "frequencyPenalty": ask.sampling.frequency_penalty,
            "presencePenalty": ask.sampling.presence_penalty,
            "responseMimeType": "application/json" if ask.format else None,
            "responseJsonSchema": ask.format.schema if ask.format else None,
            "thinkingConfig": _write_thinking(ask, losses),
        }
    )
    return without_none(
        {
            "systemInstruction": {"parts": [{"text": text} for text in system]} if system else None,
            "contents": [_write_turn(turn, losses) for turn in merged(ask.turns)],
            "tools": [{"functionDeclarations": [_write_tool(t, losses) for t in ask.tools]}] if ask.tools else None,
            "toolConfig": _write_choice(choice_of(ask, losses)),
            "generationConfig": config or None,
        }
    )


_ANY_SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
"""What the provider takes for the signature of a call that another model made (base64)."""


def signed(members: dict[str, Any]) -> dict[str, Any]:
    """A written request whose calls carry a signature: models from Gemini 3 on refuse them without.

    As the models do, the first call of a turn is signed.
    """
    for content in members["contents"]:
        call = next((part for part in content["parts"] if "functionCall" in part), None)
        if call is not None:
            call["thoughtSignature"] = _ANY_SIGNATURE
    return members


def _write_thinking(ask: Ask, losses: Losses) -> dict[str, Any] | None:
    if ask.budget is not None:
        if ask.effort is not None:
            losses.add("reasoning effort", "a budget and an effort cannot both be asked for")
        return {"thinkingBudget": ask.budget}
    if ask.effort is None:
        return None
    if ask.effort == "none":
        return {"thinkingBudget": 0}
    if ask.effort in EFFORTS:
        losses.add("reasoning effort", f"{ask.effort} is told as {EFFORTS[ask.effort]}")
    return {"thinkingLevel": EFFORTS.get(ask.effort, ask.effort)}


def _write_turn(turn: Turn, losses: Losses) -> dict[str, Any]:
    parts = [written for part in turn.parts for written in write_part(part, losses)]
    return {"role": "model" if turn.role == "assistant" else "user", "parts": parts}


def write_part(part: Part, losses: Losses) -> list[dict[str, Any]]:
    if isinstance(part, Text):
        return [{"text": part.text}]
    if isinstance(part, ToolCall):
        return [{"functionCall": {"id": part.id, "name": part.name, "args": arguments_are_object(part, losses)}}]
    if isinstance(part, ToolResult):
        media = [written for inner in part.parts if isinstance(inner, Media) for written in write_part(inner, losses)]
        text = "".join(inner.text for inner in part.parts if isinstance(inner, Text))
        response = {"error" if part.is_error else "output": text}
        return [{"functionResponse": {"id": part.id, "name": part.name, "response": response}}, *media]
    if part.data:
        return [{"inlineData": {"mimeType": part.media_type, "data": part.data}}]
    guessed = (
        _IMAGE_TYPES.get(part.url.rpartition(".")[2].lower()) if part.media_type.endswith("*") else part.media_type
    )
    losses.add("media by address", "the provider may refuse to fetch addresses other than its own files")
    return [{"fileData": without_none({"mimeType": guessed, "fileUri": part.url})}]


def _write_tool(tool: Tool, losses: Losses) -> dict[str, Any]:
    if tool.strict:
        losses.add("strict tools")
    return without_none(
        {"name": tool.name, "description": tool.description or None, "parametersJsonSchema": tool.schema}
    )


def _write_choice(choice: ToolChoice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    config: dict[str, Any] = {"mode": "ANY" if choice.mode in ("any", "tool") else choice.mode.upper()}
    if choice.mode == "tool":
        config["allowedFunctionNames"] = [choice.name]
    return {"functionCallingConfig": config}


def read_reply(members: dict[str, Any], losses: Losses) -> Reply:
    candidates = a_list(members.get("candidates"), "candidates")
    reply_id, model = a_string(members.get("responseId"), "responseId"), a_string(members.get("modelVersion"), "model")
    usage = read_usage(members.get("usageMetadata"))
    if not candidates:
        blocked = an_object(members.get("promptFeedback") or {}, "promptFeedback").get("blockReason")
        if not blocked:
            raise WireError("the answer has neither candidates nor a reason why it was blocked")
        losses.add("promptFeedback", f"the reason {blocked} is told as a refusal")
        return Reply(reply_id, model, [], Finish("refusal"), usage)
    if len(candidates) > 1:
        losses.add("candidates", "only the first candidate is carried over")
    candidate = an_object(candidates[0], "candidates[0]")
    parts: list[Text | ToolCall] = []
    content = an_object(candidate.get("content") or {}, "content")
    for number, item in enumerate(a_list(content.get("parts"), "parts")):
        part = read_part(
            in_camel(item, f"parts[{number}]", losses), f"call_{reply_id}_{number}", f"parts[{number}]", losses
        )
        if isinstance(part, Text | ToolCall):
            parts.append(part)
        elif part is not None:
            losses.add("media in an answer")
    for name in ("citationMetadata", "groundingMetadata", "logprobsResult", "urlContextMetadata"):
        if candidate.get(name):
            losses.add(name)
    called = any(isinstance(part, ToolCall) for part in parts)
    return Reply(reply_id, model, parts, read_finish(candidate.get("finishReason"), called=called), usage)


def read_finish(reason: object, *, called: bool) -> Finish:
    """This dialect ends a turn of calls with STOP."""
    found = FINISHES.get(a_string(reason, "finishReason") or "STOP", "refusal")
    return Finish("tool_calls" if found == "stop" and called else found)


def write_reply(reply: Reply, losses: Losses) -> dict[str, Any]:
    parts = [written for part in reply.parts for written in write_part(part, losses)]
    return without_none(
        {
            "candidates": [
                {
                    "content": {"role": "model", "parts": parts},
                    "finishReason": finish_reason(reply.finish, losses),
                    "index": 0,
                }
            ],
            "usageMetadata": write_usage(reply.usage),
            "modelVersion": reply.model,
            "responseId": reply.id,
        }
    )


def finish_reason(finish: Finish, losses: Losses) -> str:
    if finish.sequence:
        losses.add("stop sequence", "which one ended the answer cannot be told")
    return _REASONS.get(finish.reason, "STOP")


def read_usage(value: object) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    thoughts = counted(value, "thoughtsTokenCount")
    prompt = counted(value, "promptTokenCount")
    return Usage(
        None if prompt is None else plus(prompt, counted(value, "toolUsePromptTokenCount")),
        plus(counted(value, "candidatesTokenCount"), thoughts),
        counted(value, "cachedContentTokenCount"),
        thoughts,
    )


def write_usage(usage: Usage) -> dict[str, Any] | None:
    """None where nothing was counted: a count is never invented."""
    total = None if usage.input_tokens is None else plus(usage.input_tokens, usage.output_tokens)
    return (
        without_none(
            {
                "promptTokenCount": usage.input_tokens,
                "candidatesTokenCount": minus(usage.output_tokens, usage.reasoning_tokens),
                "thoughtsTokenCount": usage.reasoning_tokens,
                "cachedContentTokenCount": usage.cached_tokens,
                "totalTokenCount": total,
            }
        )
        or None
    )
