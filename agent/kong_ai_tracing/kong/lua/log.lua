-- kong-ai-tracing, log: make the object that file-log then puts on the line as `capture`.
local TAIL_BYTES = 32768

-- What was cut at a number of bytes, without the character that was torn by it.
local function without_torn_end(bytes)
  for back = 1, 3 do
    local byte = bytes:byte(-back)
    if not byte or byte < 128 then
      return bytes
    elseif byte >= 192 then
      local length = byte < 224 and 2 or byte < 240 and 3 or 4
      return back < length and bytes:sub(1, -back - 1) or bytes
    end
  end
  return bytes
end

local function without_torn_beginning(bytes)
  return (bytes:gsub("^[\128-\191][\128-\191]?[\128-\191]?", ""))
end

-- As text when it is UTF-8, whatever the headers say, else as base64. Returns how many bytes went in.
local function put(line, name, bytes, text)
  if ngx.re.find(text, "^", "jou") then
    line[name] = text
    return #text
  end
  line[name .. "_b64"] = ngx.encode_base64(bytes)
  return #bytes
end

local function put_response(line, kept)
  if not kept.head then
    return
  end
  local head = table.concat(kept.head)
  local tail = (kept.older_block or "") .. (kept.block and table.concat(kept.block) or "")
  if #head + #tail == kept.response_size then -- nothing was dropped in between
    put(line, "response", head .. tail, kept.complete and head .. tail or without_torn_end(head .. tail))
    return
  end
  tail = tail:sub(-TAIL_BYTES)
  local shown = put(line, "response", head, without_torn_end(head))
    + put(line, "response_tail", tail, without_torn_end(without_torn_beginning(tail)))
  line.dropped = kept.response_size - shown
end

local function finish()
  local kept = kong.ctx.shared.kong_ai_capture
  if not kept then
    return
  end
  -- get_start_time came with Kong 3.0
  local started = kong.request.get_start_time and kong.request.get_start_time() or ngx.req.start_time() * 1000
  local function since(at)
    return at and math.floor(at * 1000 - started + 0.5)
  end
  local line = {
    v = 1,
    skip = kept.skip,
    request_size = kept.request_size,
    response_size = kept.response_size,
    chunks = kept.chunks,
    complete = kept.complete or false,
    ttfb_ms = since(kept.first_at),
    ttft_ms = since(kept.token_at),
    last_ms = since(kept.last_at),
  }
  if kept.request then
    local cut = #kept.request < kept.request_size
    put(line, "request", kept.request, cut and without_torn_end(kept.request) or kept.request)
  end
  put_response(line, kept)
  kept.line = line
end

-- An error here would cost the whole log line. It only costs this object.
return function()
  local fine, problem = pcall(finish)
  if not fine then
    kong.log.warn("kong-ai-tracing: ", problem)
  end
end
