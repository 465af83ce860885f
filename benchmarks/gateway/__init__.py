"""What a request costs in the gateway, measured beside other proxies in one run: `python -m benchmarks.gateway`."""
