-- kong-ai-tracing, a field of file-log: take secrets off the line, give it the captured bodies.
-- Kong hides `authorization` and `proxy-authorization` by itself.
local SECRET_HEADERS = {
  "api-key", "apikey", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key", "x-amz-security-token",
  "x-auth-token", "cookie", "set-cookie",
}

local function without_secrets()
  local set = kong.log.set_serialize_value
  for _, name in ipairs(SECRET_HEADERS) do
    set("request.headers." .. name, nil)
    set("response.headers." .. name, nil)
  end
  -- Some keys travel in the query, which Kong writes in four places. What reads AI calls needs the path alone.
  set("request.url", nil)
  set("request.querystring", nil)
  set("request.uri", (ngx.var.request_uri or ""):match("^[^?]*"))
  set("upstream_uri", (ngx.var.upstream_uri or ""):match("^[^?]*"))
end

-- An error here would cost the whole line.
local fine, problem = pcall(without_secrets)
if not fine then
  kong.log.warn("kong-ai-tracing: ", problem)
end
local kept = kong.ctx.shared.kong_ai_capture
return kept and kept.line
