"""The pieces that messages in OpenAI's form are made of, because Langfuse shows those as a chat."""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.payloads.values import as_text

Message = dict[str, Any]


def text_part(text: Any, **more: Any) -> Message:
    """A text as a part of a content."""
    return {"type": "text", "text": text} | more


def media_part(media_type: str, data: Any, filename: Any = None, more: Message | None = None) -> Message:
    """A picture or another file that stands in the body as base64, as the address that shows it."""
    address = f"data:{media_type};base64,{data}"
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": address}} | (more or {})
    file = {"filename": filename} if filename else {}
    return {"type": "file", "file": file | {"file_data": address}} | (more or {})


def picture_part(url: Any, media_type: Any = None) -> Message:
    """A picture by its address."""
    given = {"url": url} if media_type is None else {"url": url, "format": media_type}
    return {"type": "image_url", "image_url": given}


def thinking_block(text: Any, signature: Any = None) -> Message:
    """What a model thought, in the form in which Langfuse shows it."""
    return {"type": "thinking", "content": text} | ({"signature": signature} if signature else {})


def redacted_block(data: Any) -> Message:
    """What a model thought, where only its provider can read it."""
    return {"type": "redacted_thinking", "data": data}


def tool_call(name: Any, arguments: Any, call_id: Any = None, more: Message | None = None) -> Message:
    """A call of a function. Its arguments are JSON text; those of a call that was cut are text already."""
    call: Message = {} if call_id is None else {"id": call_id}
    given = as_text({} if arguments is None else arguments)
    return call | {"type": "function", "function": {"name": name, "arguments": given}} | (more or {})


def tool_result(content: Any, call_id: Any, name: Any = None, more: Message | None = None) -> Message:
    """What a function returned: a message of its own."""
    head = {"role": "tool", "name": name, "tool_call_id": call_id}
    return (
        {key: value for key, value in head.items() if value is not None} | {"content": content} | (more or {})
    )


def function_tool(name: Any, description: Any, parameters: Any) -> Message:
    """The definition of a function that the model may call."""
    function = {"name": name, "description": description, "parameters": parameters}
    return {
        "type": "function",
        "function": {key: value for key, value in function.items() if value is not None},
    }
