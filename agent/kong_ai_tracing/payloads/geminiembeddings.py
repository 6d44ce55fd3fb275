"""Google's embeddings: Gemini's `embedContent` and its batch, and what Vertex AI's `predict` makes of both.

`predict` is Vertex's one method for every model that is no chat: embeddings, and pictures and texts of older
models. The vectors stay here: what goes out is how many there are and how long.
"""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.jsontext import Fields, dump, fields_of, items_of, objects_of, value_of
from kong_ai_tracing.payloads.dialect import Answered, Asked, Dialect, failure_of, text_length
from kong_ai_tracing.payloads.googlevalues import member, model_name, snake, usage_of
from kong_ai_tracing.payloads.parts import media_part
from kong_ai_tracing.payloads.prompts import vectors_output
from kong_ai_tracing.payloads.turns import Turn, set_messages
from kong_ai_tracing.payloads.values import dicts_of, settings_of, text_or_none

_SETTINGS = ("taskType", "outputDimensionality", "title")


# -- embedContent, batchEmbedContents


def _is_request(fields: Fields) -> bool:
    return "content" in fields or "requests" in fields


def _is_response(fields: Fields) -> bool:
    return "embedding" in fields or "embeddings" in fields


def _read_request(fields: Fields) -> Asked:
    value = {name: value_of(raw) for name, raw in fields.items()}
    requests = dicts_of(value["requests"]) if "requests" in value else [value]
    texts = [_text_of(request.get("content")) for request in requests]
    first = requests[0] if requests else {}
    return Asked(
        input=dump(texts[0] if "requests" not in value and texts else texts),
        model=model_name(value.get("model")) or model_name(first.get("model")),
        parameters=_parameters(first),
        prompt_length=text_length(texts),
    )


def _text_of(content: Any) -> Any:
    """The text of a content, or the content as it is where there is more than text in it."""
    parts = content.get("parts") if isinstance(content, dict) else None
    texts = [part.get("text") for part in dicts_of(parts)]
    words = [text for text in texts if isinstance(text, str)]
    return "".join(words) if words and len(words) == len(texts) else content


def _parameters(request: dict[str, Any]) -> dict[str, Any]:
    config = table(member(request, "embedContentConfig")) or request
    return settings_of({snake(name): member(config, name) for name in _SETTINGS})


def _read_response(fields: Fields) -> Answered:
    vectors = objects_of(fields.get("embeddings")) or objects_of_one(fields.get("embedding"))
    return Answered(
        output=vectors_output(len(vectors), _dimensions(vectors[0]) if vectors else None),
        usage=usage_of(value_of(fields.get("usageMetadata"))),
        failure=failure_of(fields),
    )


def objects_of_one(raw: Any) -> list[Fields]:
    """One object as a list."""
    found = None if raw is None else fields_of(raw)
    return [] if found is None else [found]


def _dimensions(vector: Fields) -> int | None:
    return len(items_of(vector.get("values"))) or None


# -- predict


def _is_prediction_request(fields: Fields) -> bool:
    return "instances" in fields


def _is_prediction(fields: Fields) -> bool:
    return "predictions" in fields


def _read_instances(fields: Fields) -> Asked:
    instances = value_of(fields.get("instances"))
    said = [_instance(each) for each in instances] if isinstance(instances, list) else instances
    parameters = table(value_of(fields.get("parameters")))
    return Asked(
        input=None if said is None else dump(said[0] if isinstance(said, list) and len(said) == 1 else said),
        parameters=settings_of({snake(name): value for name, value in parameters.items()}),
        prompt_length=text_length(said),
    )


def _instance(instance: Any) -> Any:
    """The text of an instance that has nothing else to say."""
    if isinstance(instance, dict) and not instance.keys() - {"content", "prompt", "task_type", "taskType"}:
        return instance.get("content") or instance.get("prompt") or instance
    return instance


def _read_vectors(fields: Fields) -> Answered:
    found = Answered(failure=failure_of(fields))
    predictions = objects_of(fields.get("predictions"))
    vectors = [fields_of(each["embeddings"]) or {} for each in predictions if "embeddings" in each]
    counts = [table(value_of(vector.get("statistics"))).get("token_count") for vector in vectors]
    tokens = [count for count in counts if isinstance(count, int | float)]
    if tokens:
        found.usage = {"prompt_tokens": int(sum(tokens))}
    dimensions = _dimensions(vectors[0]) if vectors else None
    if dimensions is None and predictions:
        # The embeddings of pictures have a vector for each medium.
        lengths = (len(items_of(raw)) for name, raw in predictions[0].items() if name.endswith("Embedding"))
        dimensions = next(lengths, None)
    found.output = vectors_output(len(predictions), dimensions)
    return found


def _read_predictions(fields: Fields) -> Answered:
    found = Answered(model=model_name(value_of(fields.get("model"))), failure=failure_of(fields))
    predictions = value_of(fields.get("predictions"))
    turns = [_turn(each) for each in predictions] if isinstance(predictions, list) else []
    set_messages(found, turns)
    return found


def _turn(prediction: Any) -> Turn:
    turn = Turn()
    value = table(prediction)
    if isinstance(data := value.get("bytesBase64Encoded"), str):
        turn.add_part(media_part(text_or_none(value.get("mimeType")) or "image/png", data))
    elif isinstance(text := value.get("content") or value.get("generated_text") or prediction, str):
        turn.add_text(text)
    else:
        turn.add_text(dump(prediction).decode())
    return turn


_MODEL = r"/(?:models|endpoints|tunedModels)/"

EMBEDDING = Dialect(
    name="gemini",
    operation="embedding",
    type="embedding",
    paths=re.compile(_MODEL + r"[^/:]+:(?:e|batchE|asyncBatchE)mbedContents?$"),
    distinctive=True,
    is_request=_is_request,
    is_response=_is_response,
    read_request=_read_request,
    read_response=_read_response,
)

VERTEX_EMBEDDING = Dialect(
    name="vertex",
    operation="embedding",
    type="embedding",
    paths=re.compile(_MODEL + r"[^/:]*embedding[^/:]*:predict$"),
    is_request=_is_prediction_request,
    is_response=_is_prediction,
    read_request=_read_instances,
    read_response=_read_vectors,
)

VERTEX_PREDICT = Dialect(
    name="vertex",
    operation="predict",
    paths=re.compile(_MODEL + r"[^/:]+:predict$"),
    is_request=_is_prediction_request,
    is_response=_is_prediction,
    read_request=_read_instances,
    read_response=_read_predictions,
)

DIALECTS = (EMBEDDING, VERTEX_EMBEDDING, VERTEX_PREDICT)
