-- Cheap on purpose: requests are made beforehand, only the event id is fresh. Arguments after "--": the request file,
-- a number that no other run has.
local parts, index, count, run = {}, 0, 0, 0

local function read(file)
  local head = file:read(4)
  if not head then return nil end
  local a, b, c, d = head:byte(1, 4)
  return file:read(a + b * 256 + c * 65536 + d * 16777216)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  while true do
    local before = read(file)
    if not before then break end
    parts[#parts + 1] = { before, read(file), read(file) }
  end
  file:close()
  run = tonumber(args[2])
end

function request()
  count = count + 1
  index = index % #parts + 1
  local part = parts[index]
  local id = string.format("%016x%016x", run, count)
  return part[1] .. id .. part[2] .. id .. part[3]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "JSON {\"requests\": %d, \"seconds\": %.3f, \"not_2xx\": %d, \"socket_errors\": %d, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
    summary.requests, summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
