"""The demonstration: three upgrades with live traffic, offline."""
