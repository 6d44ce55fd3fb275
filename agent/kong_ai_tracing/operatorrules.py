"""What the operator says of some calls: who answers them, what may leave of them, what they cost.

Each rule is a table of the configuration that may stand as often as it is needed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from kong_ai_tracing.matching import Match


class ProviderRule(Match, frozen=True, kw_only=True):
    """What answers at some place, where the agent cannot know: it overrides what a request looks like."""

    ai: Annotated[
        bool,
        Meta(description="false: these requests are no AI calls, whatever they look like."),
    ] = True
    provider: Annotated[
        str | None, Meta(description="The provider's name, as it will stand in Langfuse.", examples=["vllm"])
    ] = None
    dialect: Annotated[
        str | None,
        Meta(description="The API that is spoken there; docs/mapping.md lists them.", examples=["chat"]),
    ] = None
    model: Annotated[
        str | None,
        Meta(
            description="The model's name, where neither request nor answer says it.", examples=["llama-3.1"]
        ),
    ] = None


class Rule(Match, frozen=True, kw_only=True):
    """What is different for some calls. The first rule that fits and has the key decides."""

    content: Annotated[
        Literal["full", "metadata", "hashed"] | None,
        Meta(description="As privacy.content.", examples=["metadata"]),
    ] = None
    user_id: Annotated[
        Literal["plain", "hash"] | None, Meta(description="As privacy.user_id.", examples=["hash"])
    ] = None
    sample_rate: Annotated[
        float | None, Meta(ge=0, le=1, description="As privacy.sample_rate.", examples=[0.1])
    ] = None
    environment: Annotated[
        str | None, Meta(description="Langfuse's environment label of these calls.", examples=["staging"])
    ] = None


class Price(Struct, frozen=True, kw_only=True):
    """What a model costs that Langfuse does not know, in US dollars for a million tokens.

    A cost that Kong has worked out is used first.
    """

    model: Annotated[
        tuple[str, ...],
        Meta(description="The model's name, as a shell pattern or a list of them.", examples=["acme-*"]),
    ]
    provider: Annotated[
        tuple[str, ...], Meta(description="Only with these providers.", examples=["vllm"])
    ] = ()
    input: Annotated[float, Meta(ge=0, description="Tokens of the prompt.", examples=[0.5])] = 0.0
    output: Annotated[float, Meta(ge=0, description="Tokens of the answer.", examples=[1.5])] = 0.0
    input_cached: Annotated[
        float | None,
        Meta(
            ge=0,
            description="Tokens of the prompt that came from a cache; without it, as input.",
            examples=[0.05],
        ),
    ] = None
    output_reasoning: Annotated[
        float | None,
        Meta(ge=0, description="Tokens of reasoning; without it, as output.", examples=[1.5]),
    ] = None
