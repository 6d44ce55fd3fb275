-- The least of Kong that the printed configuration needs: a sandbox, its phases in Kong's order, the calls of
-- the PDK that our Lua makes (refused in the phases where Kong refuses them), and file-log's line.
--
-- Headers of a request ask for trouble: `x-break: NAME` makes one call raise, `x-refuse` is refused by an auth
-- plugin, `x-measure` measures what the capture holds on to.
local cjson = require "cjson"

local frame = {}
local settings -- version, path, plugins by name

-- kong.*

local function broken(name, call)
  return function(...)
    if ngx.var.http_x_break == name then
      error("broken on purpose: " .. name)
    end
    return call(...)
  end
end

local function in_phases(name, phases, call)
  return broken(name, function(...)
    if not phases:find(ngx.get_phase(), 1, true) then
      error(name .. " is disabled in the context of " .. ngx.get_phase(), 2)
    end
    return call(...)
  end)
end

local function first(value)
  return type(value) == "table" and value[1] or value
end

-- Kong 3.8 gave the function its argument; before, a body in a file was not given out.
local function get_raw_body(limit)
  ngx.req.read_body()
  local body, path = ngx.req.get_body_data(), ngx.req.get_body_file()
  if body or not path then
    return body or ""
  end
  if not limit or settings.version < 308 then
    return nil, "request body did not fit into client body buffer, consider raising 'client_body_buffer_size'"
  end
  local file = assert(io.open(path, "rb"))
  local size = file:seek("end")
  file:seek("set")
  body = size <= limit and file:read("*a") or nil
  file:close()
  return body, not body and ("request body file too big: %d > %d"):format(size, limit) or nil
end

local function started_at()
  return ngx.req.start_time() * 1000
end

local function set_serialize_value(key, value)
  local values = ngx.ctx.serialize_values or {}
  ngx.ctx.serialize_values = values
  values[#values + 1] = { key = key, value = value }
end

local AFTER_ACCESS = "header_filter body_filter log"
local ALL = "access " .. AFTER_ACCESS

local kong = {
  ctx = setmetatable({}, {
    __index = function(_, name)
      assert(name == "shared", "only kong.ctx.shared is here")
      ngx.ctx.shared = ngx.ctx.shared or {}
      return ngx.ctx.shared
    end,
  }),
  log = {
    warn = function(...) ngx.log(ngx.WARN, ...) end,
    set_serialize_value = broken("kong.log.set_serialize_value", set_serialize_value),
  },
  request = {
    get_method = in_phases("kong.request.get_method", ALL, ngx.req.get_method),
    get_header = in_phases("kong.request.get_header", ALL, function(name)
      return first(ngx.req.get_headers()[name])
    end),
    get_raw_body = in_phases("kong.request.get_raw_body", "access", get_raw_body),
    get_start_time = in_phases("kong.request.get_start_time", ALL, started_at),
  },
  response = {
    get_header = in_phases("kong.response.get_header", AFTER_ACCESS, function(name)
      return first(ngx.resp.get_headers()[name])
    end),
  },
  service = {
    request = {
      clear_header = in_phases("kong.service.request.clear_header", "access", ngx.req.clear_header),
    },
  },
}

-- the sandbox: what Kong's strictest one lets through, of that what is harmless to have too much

local SANDBOX = {
  kong = kong,
  ngx = {
    re = { find = broken("ngx.re.find", ngx.re.find) },
    now = broken("ngx.now", ngx.now),
    encode_base64 = broken("ngx.encode_base64", ngx.encode_base64),
    req = { start_time = ngx.req.start_time },
    var = setmetatable({}, { __index = function(_, name) return ngx.var[name] end }),
    arg = setmetatable({}, {
      __index = function(_, name) return ngx.arg[name] end,
      __newindex = function(_, name, value) ngx.arg[name] = value end,
    }),
  },
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall, select = select,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  math = { floor = math.floor, max = math.max, min = math.min },
  string = { byte = string.byte, find = string.find, gsub = string.gsub, lower = string.lower, match = string.match, sub = string.sub },
  table = { concat = table.concat, insert = table.insert, remove = table.remove },
}

local function sandboxed(code)
  return assert(load(code, "=sandboxed", "t", SANDBOX))
end

-- pre-function and post-function: a chunk may return the function that is called from then on

local function compiled(chunks)
  local functions = {}
  for i, code in ipairs(chunks or {}) do
    local run = sandboxed(code)
    functions[i] = function()
      local returned = run()
      if type(returned) == "function" then
        run = returned
        run()
      end
      functions[i] = run
    end
  end
  return function()
    for _, run in ipairs(functions) do
      run()
    end
  end
end

local phases = {} -- name of plugin → phase → function

local function run(plugin, phase)
  local found = phases[plugin]
  if found then
    found[phase]()
  end
end

function frame.load(path)
  local file = assert(io.open(path))
  settings = cjson.decode(file:read("*a"))
  file:close()
  if settings.version < 300 then
    kong.request.get_start_time = nil
  end
  for _, name in ipairs({ "pre-function", "post-function" }) do
    local config = settings.plugins[name]
    if config then
      phases[name] = {}
      for _, phase in ipairs({ "access", "body_filter", "log" }) do
        phases[name][phase] = compiled(config[phase])
      end
    end
  end
end

-- file-log

local function put(record, key, value)
  local node, last = record, key
  for part, rest in key:gmatch("([^.]+)%.?(.*)") do
    last = part
    if rest == "" then
      break
    end
    node[part] = node[part] or {}
    return put(node[part], rest, value)
  end
  node[last] = value
end

local function without_credentials(headers)
  headers = setmetatable(headers, nil)
  headers.authorization = headers.authorization and "REDACTED"
  return headers
end

local function milliseconds(seconds)
  return math.floor((tonumber(seconds) or 0) * 1000 + 0.5)
end

local function record()
  local waited = tonumber(ngx.var.upstream_header_time)
  local found = {
    request = {
      id = ngx.var.request_id,
      method = ngx.req.get_method(),
      uri = ngx.var.request_uri,
      url = "http://localhost:8000" .. ngx.var.request_uri,
      querystring = ngx.req.get_uri_args(),
      headers = without_credentials(ngx.req.get_headers()),
      size = tonumber(ngx.var.request_length),
    },
    response = {
      status = ngx.status,
      headers = setmetatable(ngx.resp.get_headers(), nil),
      size = tonumber(ngx.var.bytes_sent),
    },
    latencies = {
      request = milliseconds(ngx.var.request_time),
      proxy = waited and milliseconds(waited) or -1,
      kong = 0,
      receive = 0,
    },
    service = { name = "openai", host = "api.openai.com", port = 443 },
    route = { name = "openai-route" },
    upstream_uri = ngx.var.upstream_uri,
    upstream_status = ngx.var.upstream_status or "",
    client_ip = "127.0.0.1",
    started_at = milliseconds(ngx.req.start_time()),
    measured = ngx.ctx.measured,
  }
  for _, item in ipairs(ngx.ctx.serialize_values or {}) do
    put(found, item.key, item.value)
  end
  return found
end

local function write_line(path)
  local file = assert(io.open(path, "a"))
  file:write(cjson.encode(record()) .. "\n")
  file:close()
end

local function file_log(config)
  for key, code in pairs(config.custom_fields_by_lua or {}) do
    set_serialize_value(key, sandboxed(code)())
  end
  write_line(config.path)
end

-- how much a table holds on to: its texts, and 16 bytes for each place in it

local function size_of(value)
  if type(value) == "string" then
    return #value
  elseif type(value) ~= "table" then
    return 0
  end
  local size = 0
  for key, member in pairs(value) do
    size = size + 16 + size_of(member) + (type(key) == "string" and #key or 0)
  end
  return size
end

-- Kong's phases, plugins by priority

function frame.access()
  run("pre-function", "access")
  if ngx.var.http_x_refuse then
    ngx.status = 401
    ngx.header.content_type = "application/json"
    ngx.print('{"message":"No API key found in request"}')
    return ngx.exit(401)
  end
  run("post-function", "access")
end

function frame.body_filter()
  run("pre-function", "body_filter")
  run("post-function", "body_filter")
  if ngx.var.http_x_measure then
    ngx.ctx.measured = math.max(ngx.ctx.measured or 0, size_of(ngx.ctx.shared))
  end
end

function frame.log()
  run("pre-function", "log")
  write_line("http.log") -- where Kong would run http-log
  file_log(settings.plugins["file-log"])
  run("post-function", "log")
end

return frame
