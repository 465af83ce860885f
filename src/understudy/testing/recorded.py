"""A provider that answers what was recorded for (model, last user message), in every dialect.

For tests, demos and post-mortems. With `latency_scale` 1.0 an answer takes as long as it did when it was recorded,
with 0 (the default) no time at all. A prompt nobody recorded gets a 404 that names the nearest one. Token counts are
the recorded ones; where none were recorded they are estimated from the length.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from understudy.core.errors import UsageError
from understudy.evals.recordings import read
from understudy.testing.dialects import Asked, Said
from understudy.testing.dialects.base import estimate_tokens, input_tokens
from understudy.testing.provider import Answered, Declined, Outcome, ProviderServer

FIRST_CONTENT = 0.2
"""Part of a recorded latency after which a stream shows its first content; recordings do not tell."""


class Recorded(NamedTuple):
    """One recorded answer; None where the recording does not say."""

    model: str
    prompt: str
    output: str
    latency_s: float | None = None
    output_tokens: int | None = None


class Recordings:
    """Recorded answers, found by model and prompt. Of two answers to one prompt by one model the first counts."""

    def __init__(self, rows: Iterable[Recorded]) -> None:
        self._by_model: dict[str, dict[str, Recorded]] = {}
        for row in rows:
            self._by_model.setdefault(row.model, {}).setdefault(row.prompt, row)

    @property
    def models(self) -> list[str]:
        return list(self._by_model)

    def __len__(self) -> int:
        return sum(len(prompts) for prompts in self._by_model.values())

    def find(self, model: str, prompt: str) -> Recorded | str:
        """The recorded answer, or a sentence that says what is missing and what comes nearest."""
        prompts = self._by_model.get(model)
        if prompts is None:
            near = difflib.get_close_matches(model, self._by_model, n=1, cutoff=0.0)
            return f"no recordings of model {model!r}; the nearest is {near[0]!r}" if near else "no recordings at all"
        found = prompts.get(prompt)
        if found is not None:
            return found
        return (
            f"model {model!r} has no recorded answer to {shortened(prompt)!r}; "
            f"the nearest recorded prompt is {shortened(nearest(prompt, prompts))!r}"
        )


def nearest(prompt: str, known: Mapping[str, Recorded]) -> str:
    """The known prompt that shares the most words with this one, counted against all words of both."""
    words = set(prompt.split())

    def likeness(other: str) -> float:
        others = set(other.split())
        return len(words & others) / (len(words | others) or 1)

    return max(known, key=likeness)


def shortened(text: str, characters: int = 120) -> str:
    return text if len(text) <= characters else text[: characters - 3] + "..."


def load(paths: Sequence[Path]) -> Iterator[Recorded]:
    """What a provider needs of the rows of some files. Raises ConfigError where a line is broken."""
    for path in paths:
        for row in read(path):
            yield Recorded(row.model, row.prompt, row.output, row.latency_s, row.output_tokens)


class RecordedProvider(ProviderServer):
    """`async with RecordedProvider(paths) as provider:` answers on `provider.base_url` from recordings files.

    Raises ConfigError where a file cannot be read, and UsageError where the files hold nothing.
    """

    def __init__(self, paths: Sequence[Path], *, latency_scale: float = 0.0, port: int = 0, key: str = "") -> None:
        self.recordings = Recordings(load(paths))
        if not len(self.recordings):
            raise UsageError(
                f"no recordings in {', '.join(map(str, paths)) or 'no file at all'}",
                remedy="name files with one JSON line a (case, model): case_id, model, prompt, output",
            )
        self.latency_scale = latency_scale
        super().__init__(self._find, models=self.recordings.models, port=port, key=key)

    def _find(self, asked: Asked) -> Outcome:
        found = self.recordings.find(asked.model, asked.last_user)
        if isinstance(found, str):
            return Declined(404, found)
        output_tokens = estimate_tokens(found.output) if found.output_tokens is None else found.output_tokens
        said = Said(found.output, asked.model, input_tokens(asked), output_tokens)
        total = (found.latency_s or 0.0) * self.latency_scale
        return Answered(said, total * FIRST_CONTENT, total)
