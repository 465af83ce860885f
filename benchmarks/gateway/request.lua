-- wrk script. Environment: BODY (file), MODEL, TARGET (path), KEY, HEADER ("name: value" or ""), STREAM=1,
-- THINK_LO and THINK_HI (ms: each connection waits so long between two requests).
local file = io.open(os.getenv("BODY")); local body = file:read("*a"); file:close()
body = body:gsub("@@MODEL@@", os.getenv("MODEL"))
if os.getenv("STREAM") == "1" then body = body:gsub('"stream": false', '"stream": true') end
local headers = {
  ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("KEY"),
  ["Host"] = "127.0.0.1", ["User-Agent"] = "OpenAI/Python 2.0.0",
}
local name, value = (os.getenv("HEADER") or ""):match("^([^:]+): (.*)$")
if name then headers[name] = value end
local requests, count = {}, 0
math.randomseed(7)
function init(args)
  for i = 1, 256 do
    local user = tostring(math.random(100000, 999999))
    headers["x-user-id"] = "user-" .. user
    requests[i] = wrk.format("POST", os.getenv("TARGET"), headers, (body:gsub("@@USER@@", user)))
  end
end
function request() count = count + 1; return requests[count % 256 + 1] end
local lo, hi = tonumber(os.getenv("THINK_LO") or "0"), tonumber(os.getenv("THINK_HI") or "0")
if hi > 0 then function delay() return math.random(lo, hi) end end
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'JSON {"n":%d,"seconds":%.4f,"p50_ms":%.4f,"p99_ms":%.4f,"errors":%d,"bad":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
