"""One outside thing a module; no adapter knows another, `gateway.app` wires them."""
