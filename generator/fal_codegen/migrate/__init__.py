"""From `fal_client` to typed calls: reads Python code, rewrites what it understands, and says why it kept the rest.

`source` parses a file and resolves names, `shapes` knows what a value was before and is afterwards, `calls` rewrites
one call, `flow` follows what a call gives through the file, `handlers` and `imports` do the rest of a file, `files`
does it for a tree, and `command` is `fal-bindings migrate`.
"""
