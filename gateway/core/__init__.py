"""Everything that can be decided without I/O: values in, values out.

No clock, no randomness, no environment and no client of anything may be imported here; import-linter holds it.
"""
