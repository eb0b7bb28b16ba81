-- The load generator: wrk joins each template's parts with fresh hexadecimal digits, so that no two events are alike.
-- Arguments after "--": the template file, the milliseconds that each connection waits before it sends (0 = none), a seed.
local bodies = {}
local wait_ms = 0
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local function read_templates(path)
  local file = assert(io.open(path, "rb"))
  while true do
    local head = file:read(4)
    if not head then break end
    local a, b, c, d = head:byte(1, 4)
    local text = file:read(a + b * 256 + c * 65536 + d * 16777216)
    local parts, at = {}, 1
    while true do
      local slot = text:find("\0", at, true)
      if not slot then
        parts[#parts + 1] = text:sub(at)
        break
      end
      parts[#parts + 1] = text:sub(at, slot - 1)
      parts[#parts + 1] = text:byte(slot + 1) -- 255: the event id; else how many digits
      at = slot + 2
    end
    bodies[#bodies + 1] = parts
  end
  file:close()
end

local pool = {}

function init(args)
  read_templates(args[1])
  wait_ms = tonumber(args[2] or "0")
  math.randomseed(tonumber(args[3] or os.time()) + number * 7919)
  for i = 0, 65535 do pool[i] = string.format("%04x", i) end
  index = math.random(#bodies)
  errors = 0
  accepted = 0
end

local random, concat, sub = math.random, table.concat, string.sub

local function digits(count)
  local text = {}
  for i = 1, count, 4 do text[#text + 1] = pool[random(0, 65535)] end
  return sub(concat(text), 1, count)
end

function request()
  index = index % #bodies + 1
  local parts = bodies[index]
  local out = {}
  local id = digits(32)
  for i = 1, #parts, 2 do
    out[i] = parts[i]
    local slot = parts[i + 1]
    if slot then out[i + 1] = slot == 255 and id or digits(slot) end
  end
  return wrk.format("POST", nil, nil, concat(out))
end

function delay() return wait_ms end

function response(status)
  if status >= 200 and status < 300 then accepted = accepted + 1 else errors = errors + 1 end
end

function done(summary, latency)
  io.write(string.format(
    "JSON {\"requests\": %d, \"seconds\": %.3f, \"not_2xx\": %d, \"socket_errors\": %d, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
