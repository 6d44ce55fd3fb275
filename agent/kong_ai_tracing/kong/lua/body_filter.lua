-- kong-ai-tracing, body_filter: look at each chunk of the answer, keep its beginning and its end.
-- ngx.arg[1] is read and never assigned: assigning makes nginx hold tokens back.
local RESPONSE_BYTES = 262144 -- of the beginning go on the log line
local TAIL_BYTES = 32768 -- of the end as well, because a stream has its usage there
-- The first text, thought or tool argument in an event of any of the APIs.
local TOKEN = [==["(?:content|text|delta|response|reasoning(?:_content)?|thinking|arguments|partial_json)"\s*:\s*"[^"]]==]

-- The end is kept in two blocks. When the younger one is full it replaces the older one.
local function keep_tail(kept, piece)
  local block = kept.block or {}
  block[#block + 1] = piece:sub(-TAIL_BYTES)
  kept.block = block
  kept.block_bytes = (kept.block_bytes or 0) + #block[#block]
  if kept.block_bytes >= TAIL_BYTES then
    kept.older_block = table.concat(block):sub(-TAIL_BYTES)
    kept.block, kept.block_bytes = nil, 0
  end
end

local function keep_piece(kept, piece)
  local room = RESPONSE_BYTES - kept.head_bytes
  if room > 0 then
    local head = kept.head or {}
    head[#head + 1] = piece:sub(1, room)
    kept.head = head
    kept.head_bytes = kept.head_bytes + #head[#head]
    piece = piece:sub(room + 1)
  end
  if piece ~= "" then
    keep_tail(kept, piece)
  end
end

local function watch()
  local kept = kong.ctx.shared.kong_ai_capture
  if not kept then
    return
  end
  if ngx.arg[2] then
    kept.complete = true
  end
  local chunk = ngx.arg[1]
  if not chunk or chunk == "" then
    return
  end
  kept.last_at = ngx.now()
  if kept.chunks == 0 then
    kept.first_at = kept.last_at
    local media = (kong.response.get_header("content-type") or ""):lower()
    kept.streamed = media:find("stream", 1, true) or media:find("ndjson", 1, true)
    kept.is_media = media:find("^audio/") or media:find("^image/") or media:find("^video/")
  end
  kept.chunks = kept.chunks + 1
  kept.response_size = kept.response_size + #chunk
  if kept.streamed and not kept.token_at and ngx.re.find(chunk, TOKEN, "jo") then
    kept.token_at = kept.last_at
  end
  if not kept.is_media then
    keep_piece(kept, chunk)
  end
end

-- An error here would break the answer. It ends the capture of this request and nothing else.
return function()
  local fine, problem = pcall(watch)
  if not fine then
    kong.ctx.shared.kong_ai_capture = nil
    kong.log.warn("kong-ai-tracing: ", problem)
  end
end
