"""What a request costs in the gateway, measured beside other proxies in the same run: `python -m benchmarks.gateway`."""
