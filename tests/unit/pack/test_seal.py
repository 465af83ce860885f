"""A sealed file: no byte of it can change unseen."""

from __future__ import annotations

import json

import pytest

from understudy.pack.seal import FRAMES, Part, check, sealed

PARTS = [
    Part("opening", b"<h1>\xc3\xa4</h1>\n"),
    Part("empty", b""),
    Part("data", b'{"a": [1, 2], "manifest": "no"}\n'),
]


@pytest.mark.parametrize("kind", FRAMES)
def test_an_untouched_file_has_its_seal(kind: str) -> None:
    """What was sealed is found in order, with the seal that was given and with none."""
    file, seal = sealed(PARTS, kind)
    assert check(file) == check(file, seal)
    assert (check(file).seal, check(file).parts, check(file).changed) == (seal, 3, ())


@pytest.mark.parametrize("kind", FRAMES)
def test_every_flipped_byte_is_found(kind: str) -> None:
    """Each byte, of parts, manifest and what stands around it, is changed alone: it is always found."""
    file, _ = sealed(PARTS, kind)
    for place in range(len(file)):
        for bit in (0x01, 0x20, 0x80):
            changed = bytearray(file)
            changed[place] ^= bit
            assert check(bytes(changed)).changed, f"{kind}: byte {place} of {len(file)} may change unseen"


@pytest.mark.parametrize("kind", FRAMES)
def test_the_changed_part_is_named(kind: str) -> None:
    """A byte within a part is laid to that part and to no other."""
    file, _ = sealed(PARTS, kind)
    place = 0
    for part in PARTS:
        for offset in range(len(part.content)):
            changed = bytearray(file)
            changed[place + offset] ^= 1
            assert check(bytes(changed)).changed == (f"part {part.name} was changed",)
        place += len(part.content)


@pytest.mark.parametrize("kind", FRAMES)
def test_what_is_cut_off_added_or_moved_is_found(kind: str) -> None:
    """A shorter file, a longer one, and one whose parts changed places are no longer what was sealed."""
    file, _ = sealed(PARTS, kind)
    assert all(check(file[:end]).changed for end in range(len(file)))
    assert check(file + b"\n").changed and check(b"\n" + file).changed
    at = file.rfind(FRAMES[kind].before)
    assert check(file[:at] + b"more" + file[at:]).changed
    assert check(PARTS[2].content + PARTS[0].content + file[at:]).changed


def test_who_seals_a_changed_file_anew_has_another_seal() -> None:
    """The seal that was kept elsewhere is what finds a forger."""
    _, seal = sealed(PARTS, "html")
    forged, other = sealed([PARTS[0]._replace(content=b"<h1>b</h1>\n"), *PARTS[1:]], "html")
    assert other != seal and not check(forged).changed
    assert check(forged, seal).changed


def test_a_manifest_that_lies_about_its_seal_is_found() -> None:
    """The seal in the manifest is held against its own list."""
    file, seal = sealed(PARTS, "json")
    lying = file.replace(seal.encode(), b"0" * 64)
    assert any("does not have the seal" in sentence for sentence in check(lying).changed)


def test_two_parts_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        sealed([PARTS[0], PARTS[0]], "html")


def test_a_json_pack_is_json() -> None:
    """The manifest is a member of the document, not something behind it."""
    file, seal = sealed([Part("a", b'{\n"a":1'), Part("b", b',\n"b":2')], "json")
    assert json.loads(file)["manifest"]["seal"] == seal


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("text", [b"", b"<h1>longer than before</h1>\n"])
def test_a_part_of_another_length_is_named_alone(kind: str, text: bytes) -> None:
    """Whoever reads which part was changed is not sent to all that stand behind it."""
    file, _ = sealed(PARTS, kind)
    for part in (PARTS[0], PARTS[2]):
        said = check(file.replace(part.content, text, 1)).changed
        assert said[0] == f"part {part.name} was changed" and said[1].startswith("the parts end at") and len(said) == 2
