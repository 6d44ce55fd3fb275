-- One Langfuse event for each AI call on Kong's log; other traffic is dropped. Texts stay the strings they are.
local function event_of(record)
  local request, response, model, usage
  if record.ai then
    local proxy = record.ai.proxy
    request, response = proxy.payload.request, proxy.payload.response
    model, usage = proxy.meta.response_model, proxy.usage
  elseif record.capture then
    request, response = record.capture.request, record.capture.response
    usage = {}
  else
    return nil
  end
  local headers = record.request.headers
  return {
    id = record.request.id,
    type = "generation-create",
    timestamp = os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(record.started_at / 1000)),
    body = {
      id = record.request.id,
      traceId = record.request.id,
      name = "chat",
      model = model,
      input = request,
      output = response,
      usageDetails = {
        input = usage.prompt_tokens, output = usage.completion_tokens, total = usage.total_tokens,
      },
      metadata = {
        status_code = record.response.status, latencies = record.latencies, route = record.route.name,
        user_id = headers["x-user-id"], session_id = headers["x-session-id"],
      },
    },
  }
end

function to_langfuse(_tag, timestamp, record)
  local event = event_of(record)
  if event == nil then
    return -1, timestamp, record
  end
  return 1, timestamp, event
end
