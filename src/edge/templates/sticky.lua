-- The sticky cookie. The route's metadata maps opaque names to the addresses of its own instances; a name that is not
-- in it is nobody's. Why this way: docs/decisions/sticky-cookie.md.
function envoy_on_request(handle)
  local cookies = handle:headers():get("cookie")
  if cookies == nil then
    return
  end
  local name = string.match("; " .. cookies, "[;,] *slipform_sticky=([%w_-]+)")
  if name == nil then
    return
  end
  local table = handle:metadata():get("endpoints")
  local address = table and table[name]
  if address ~= nil then
    handle:streamInfo():dynamicMetadata():set("slipform", "sticky", name)
    handle:setUpstreamOverrideHost(address)
  end
end

function envoy_on_response(handle)
  local name = handle:headers():get("x-slipform-sticky")
  if name == nil then
    return
  end
  handle:headers():remove("x-slipform-sticky")
  local seconds = handle:metadata():get("seconds")
  if tonumber(handle:headers():get(":status")) >= 500 then
    return -- nobody should stay with an instance that fails
  end
  if seconds == nil or not string.match(name, "^[%w_-]+$") then
    return
  end
  local asked = handle:streamInfo():dynamicMetadata():get("slipform")
  if asked ~= nil and asked["sticky"] == name then
    return
  end
  handle:headers():add("set-cookie", "slipform_sticky=" .. name .. "; Max-Age=" .. seconds ..
    "; Path=/; Secure; HttpOnly; SameSite=Lax")
end
