"""Where the identity of a call may stand, in the order in which the places are trusted.

Each field has its list of sources, the first that says something wins. Header names are in lower case with
hyphens for underscores. `header a.b` is member `b` of header `a`, which holds a JSON object. An operator's
`[mapping]` puts others before them, after them or in their place (`mapping.py`).
"""

from __future__ import annotations

SOURCES: dict[str, tuple[str, ...]] = {
    field: tuple(line.strip() for line in lines.strip().splitlines())
    for field, lines in {
        "user_id": """
            header langfuse-user-id
            header x-langfuse-user-id
            header langfuse-trace-user-id
            baggage langfuse_user_id
            body metadata.langfuse_user_id
            header x-user-id
            body metadata.user_id
            body metadata.trace_user_id
            header x-litellm-end-user-id
            header x-litellm-customer-id
            header helicone-user-id
            header x-portkey-metadata._user
            header cf-aig-metadata.user_id
            header cf-aig-metadata.user
            header tensorzero-otlp-traces-extra-attribute-user-id
            body tensorzero::tags.user_id
            header x-openwebui-user-id
            header x-openwebui-user-email
            header x-openwebui-user-name
            header chatgpt-account-id
            body safety_identifier
            body user
            kong consumer.custom_id
            kong consumer.username
            kong consumer.id
            header x-consumer-custom-id
            header x-consumer-username
            kong authenticated_entity.id
        """,
        "session_id": """
            header langfuse-session-id
            header x-langfuse-session-id
            baggage langfuse_session_id
            body metadata.langfuse_session_id
            header x-session-id
            header x-chat-id
            body metadata.session_id
            body metadata.chat_id
            header x-litellm-session-id
            header x-litellm-trace-id
            body litellm_session_id
            header helicone-session-id
            body session_id
            body tensorzero::episode_id
            header agent-session-id
            header x-openclaw-session-key
            header x-clawdbot-session-key
            header x-moltbot-session-key
            header x-agent-session
            header x-openwebui-chat-id
            header x-claude-code-session-id
            body metadata.user_id (agent session)
            header session-id
            header thread-id
            header x-opencode-session
            header x-amp-thread-id
            header x-conversation-id
            header x-thread-id
            header mcp-session-id
            body conversation_id
            body thread_id
            body conversation
            header x-*-session-id
        """,
        "trace_id": """
            header langfuse-trace-id
            header x-langfuse-trace-id
            header langfuse-existing-trace-id
            baggage langfuse_trace_id
            body metadata.langfuse_trace_id
            body metadata.trace_id
            body metadata.existing_trace_id
            body litellm_trace_id
            body trace.trace_id
            header x-portkey-trace-id
            header x-merge-trace-id
            header traceparent
            kong trace_id.w3c
            kong trace_id.b3
            kong trace_id.jaeger
            kong trace_id.ot
            kong trace_id.datadog
            kong trace_id.gcp
            kong trace_id.aws
            kong trace_id.instana
            header x-b3-traceid
            header b3
            header x-datadog-trace-id
            header uber-trace-id
            header ot-tracer-traceid
            header x-message-id
            body metadata.message_id
        """,
        "parent_span_id": """
            header x-langfuse-parent-span-id
            header langfuse-parent-observation-id
            body metadata.parent_observation_id
            body trace.parent_span_id
            header x-portkey-parent-span-id
            header traceparent
            header x-b3-spanid
            header b3
            header x-datadog-parent-id
            header uber-trace-id
        """,
        "message_id": """
            header x-message-id
            body metadata.message_id
        """,
        "chat_id": """
            header x-chat-id
            body metadata.chat_id
        """,
        "organization_id": """
            header x-organization-id
            body metadata.organization_id
        """,
        "project_id": """
            header x-project-id
            body metadata.project_id
        """,
        "trace_name": """
            header langfuse-trace-name
            header x-langfuse-trace-name
            baggage langfuse_trace_name
            body metadata.langfuse_trace_name
            body metadata.trace_name
            body trace.trace_name
            header helicone-session-name
        """,
        "observation_name": """
            header langfuse-generation-name
            header x-langfuse-generation-name
            body metadata.generation_name
            body trace.generation_name
            body trace.span_name
            header x-portkey-span-name
            header x-merge-span-name
            header helicone-session-path
        """,
        "tags": """
            header langfuse-tags
            header x-langfuse-tags
            body metadata.langfuse_tags
            body metadata.tags
            header x-litellm-tags
        """,
        "environment": """
            header langfuse-environment
            header x-langfuse-environment
            baggage langfuse_environment
            body metadata.langfuse_environment
            body metadata.environment
            header x-portkey-metadata._environment
        """,
        "release": """
            header langfuse-release
            header x-langfuse-release
            body metadata.trace_release
            body metadata.release
        """,
        "version": """
            header langfuse-version
            header x-langfuse-version
            body metadata.trace_version
            body metadata.version
        """,
        "agent_id": """
            header x-litellm-agent-id
            header x-claude-code-agent-id
            header x-clawdbot-agent-id
        """,
        "prompt_name": """
            header langfuse-prompt-name
            header x-langfuse-prompt-name
            baggage langfuse_prompt_name
            body metadata.langfuse_prompt_name
            body metadata.langfuse_prompt.name
            body metadata.langfuse_prompt
        """,
        "prompt_version": """
            header langfuse-prompt-version
            header x-langfuse-prompt-version
            baggage langfuse_prompt_version
            body metadata.langfuse_prompt_version
            body metadata.langfuse_prompt.version
        """,
        "helicone_prompt_id": "header helicone-prompt-id",
        "app_name": "header x-title",
    }.items()
}
