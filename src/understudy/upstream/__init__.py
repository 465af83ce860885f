"""The one HTTP client to providers: a keep-alive pool on asyncio and httptools, with deadlines and TLS."""
