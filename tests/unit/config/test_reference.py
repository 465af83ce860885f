"""The reference page says what the models say."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from understudy.config import crosscheck, lakes, schema, webhooks
from understudy.config.explain import validate
from understudy.config.load import parse_yaml
from understudy.config.reference import SECTIONS, configuration_reference

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "configuration.md"


def test_the_committed_page_is_the_generated_one() -> None:
    """Whoever changes a key writes the page anew."""
    assert f"\n{configuration_reference()}\n" in PAGE.read_text(), "run `make docs`"


def test_every_section_and_every_key_is_explained() -> None:
    """No model of the file is missing, and no key is without a sentence."""
    models = {
        model
        for module in (schema, lakes, webhooks)
        for model in vars(module).values()
        if isinstance(model, type)
        and issubclass(model, BaseModel)
        and model not in (BaseModel, schema.Model, lakes.Model)
    }
    assert {model for _, model in SECTIONS} == models
    for model in models:
        assert model.__doc__, model
        for name, field in model.model_fields.items():
            assert field.description or (model, name) == (schema.ProviderSection, "wire"), (model.__name__, name)


def test_values_are_named_as_they_are_written() -> None:
    """A duration, a choice and a limit look like what a user types."""
    page = configuration_reference()
    assert "| `hold` | duration | **required** | Least time on this rung" in page
    assert "| `content` | `full`, `redacted`, `off` | `redacted` |" in page
    assert "| `port` | whole number from 0 to 65535 | `8080` |" in page
    assert "| `sample` | percentage | `100%` |" in page
    assert "Annotated" not in page


def test_the_example_of_the_page_is_right() -> None:
    """What readers copy is accepted."""
    block = PAGE.read_text().partition("```yaml\n")[2].partition("```")[0]
    document = parse_yaml(block, "page")
    config = validate(document, schema.Config)
    assert crosscheck.problems(config, document) == []
