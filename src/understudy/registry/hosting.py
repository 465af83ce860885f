"""What is known of a model as its provider serves it: the dates of a maker do not hold where others host it. Pure."""

from __future__ import annotations

from datetime import date
from urllib.parse import urlsplit

from understudy.config.schema import Config
from understudy.core.variant import Variant
from understudy.registry.clouds import by_address
from understudy.registry.lifetimes import Known, Registry


def platform(config: Config, provider: str) -> str:
    """The cloud that a provider's address belongs to, as `clouds.CLOUDS` names it; "" where it is none of them."""
    return by_address(urlsplit(config.providers[provider].base_url).hostname or "")


def known(config: Config, provider: str, model: str) -> Known:
    """By the public facts, and over them what the project declares under `models:`."""
    return Registry(config.models).look_up(model, platform(config, provider))


def last_day(config: Config, variant: Variant) -> date | None:
    """The first day without the variant's model, None where nobody says one."""
    if variant.provider not in config.providers:
        return None
    lifetime = known(config, variant.provider, variant.model).lifetime
    return lifetime.retirement.day if lifetime and lifetime.retirement else None
