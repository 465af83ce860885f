"""The dialects of the providers, as pure functions over bytes: read, rewrite, usage, terminal event, translate."""
