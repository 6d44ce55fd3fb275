-- kong-ai-tracing, access: keep the beginning of the request body.
local REQUEST_BYTES = 262144 -- go on the log line
local SPILLED_BYTES = 4194304 -- a larger body is not fetched back from nginx's temporary file
local ASKING = { POST = true, PUT = true, PATCH = true }

local function keep()
  if not ASKING[kong.request.get_method()] then
    return
  end
  local kept = { head_bytes = 0, response_size = 0, chunks = 0 }
  kong.ctx.shared.kong_ai_capture = kept
  -- Ask for an answer that is not compressed: only that can be searched for its first token.
  kong.service.request.clear_header("accept-encoding")

  local media = (kong.request.get_header("content-type") or "json"):lower()
  kept.request_size = tonumber(kong.request.get_header("content-length"))
  if not media:find("json", 1, true) and not media:find("text/", 1, true) then
    kept.skip = "content-type" -- uploads, sounds, pictures
    return
  end
  if kept.request_size and kept.request_size > SPILLED_BYTES then
    kept.skip = "larger than " .. SPILLED_BYTES .. " bytes"
    return
  end
  -- Kong 3.8 and newer read a spilled body back up to this size, older ones say why they do not.
  local body, problem = kong.request.get_raw_body(SPILLED_BYTES)
  if not body then
    kept.skip = problem or "unknown"
    return
  end
  kept.request_size = #body
  kept.request = body:sub(1, REQUEST_BYTES)
end

-- An error here would be an answer 500. It ends the capture of this request and nothing else.
return function()
  local fine, problem = pcall(keep)
  if not fine then
    kong.ctx.shared.kong_ai_capture = nil
    kong.log.warn("kong-ai-tracing: ", problem)
  end
end
