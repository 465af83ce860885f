"""The one HTTP client to providers: connection pool, deadlines, TLS."""
