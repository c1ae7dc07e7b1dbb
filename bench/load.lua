-- The load of one measurement, for wrk: every request has an id of its own, every answer is checked.
-- Usage: wrk -s load.lua URL -- PLAN    where PLAN is a Lua file that returns
--   targets   a list of {head, parts}: a request is head, length, blank line, and the parts with its id between them
--   echoed    text that an answer must have, with %ID% in place of its request's id
--   fixed     whether all answers are the same bytes, so that there is no id to look for
--   length    how many bytes an answer has besides its id; nil when that is not known

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  plan = dofile(arguments[1])
  count = #plan.targets
  before, after = plan.echoed:match("^(.*)%%ID%%(.*)$")
  sequence = 0
  waiting = {}
  answered = 0
  wrong = 0
  example = ""
end

function request()
  sequence = sequence + 1
  local target = plan.targets[sequence % count + 1]
  local body = table.concat(target[2], sequence)
  waiting[sequence] = true
  return target[1] .. #body .. "\r\n\r\n" .. body
end

local function right(status, body)
  if status ~= 200 then return false end
  if plan.fixed then
    return #body == plan.length and body:find(plan.echoed, 1, true) ~= nil
  end
  local id = body:match('"id":(%d+)')
  if id == nil or not waiting[tonumber(id)] then return false end
  waiting[tonumber(id)] = nil
  if plan.length ~= nil and #body ~= plan.length + #id then return false end
  local expected = plan.echoed
  if before ~= nil then expected = before .. id .. after end
  return body:find(expected, 1, true) ~= nil
end

function response(status, headers, body)
  answered = answered + 1
  if not right(status, body) then
    wrong = wrong + 1
    if example == "" then example = status .. " " .. body:sub(1, 300) end
  end
end

function done(summary, latency, requests)
  local total, bad, first = 0, 0, ""
  for _, thread in ipairs(threads) do
    total = total + thread:get("answered")
    bad = bad + thread:get("wrong")
    if first == "" then first = thread:get("example") end
  end
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d %d %d\n", total, bad, summary.duration,
    errors.connect, errors.read, errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99)))
  io.write("EXAMPLE " .. first:gsub("[\r\n]", " ") .. "\n")
end
