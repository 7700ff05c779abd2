"""Read a profile of the policy file: what every engine understands, and a section for each engine.

An engine brings the JSON schema and the parser of its own section (``EngineFactory``), so that a
package can add an engine, and its keys, without a change here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import takewhile
from typing import Any

from fyre.errors import UserError
from fyre.message import value_parsers
from fyre.runs import yaml_document, yaml_values
from fyre.runs.profiles import CheckoutOptions, Profile
from fyre.runs.yaml_document import DocumentPath, YamlDocument

FLAT_SECTION = "kubernetes"
"""The engine whose keys may also stand at the profile's top, where 0.1 had all of them."""

_SECTION_NAME = re.compile(r"[a-z][-_a-z0-9]*")
_CLOSE_NAME = 0.75  # likeness, by ``difflib``, from which a key is named in a hint


def _typed_values(section: YamlDocument) -> object:
    return section.values


@dataclass(frozen=True, slots=True)
class ProfileSection:
    """An engine's own part of a profile: its keys, and how they are read."""

    schema: Mapping[str, Any]
    """JSON schema (2020-12) of the section, complete in itself: its ``$ref`` begin with ``#``. The
    descriptions in it are the hints of errors. Unknown keys are errors, unless it says otherwise.
    """

    parse: Callable[[YamlDocument], object] = _typed_values
    """The parser: from a section that the schema allows to what ``Profile.sections`` holds. Raises
    what ``error_at`` and ``parse_at`` of the section return or raise; paths begin at the section.
    Without one the values are taken as YAML types them."""

    @property
    def closed_schema(self) -> dict[str, Any]:
        """The schema, which allows a mapping only, and no unknown keys by default."""
        return {"additionalProperties": False, **self.schema, "type": "object"}

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that the schema names."""
        return tuple(self.schema.get("properties", ()))


SectionLoaders = Mapping[str, Callable[[], ProfileSection | None]]
"""By the name of each installed engine, a function that loads its section; None if it has none.

It raises ``UserError`` if the engine can't be loaded, and is called only for a section that a file
has.
"""


@cache
def common_schema() -> dict[str, Any]:
    """Return the JSON schema of the file without the sections of engines."""
    path = resources.files("fyre") / "schemas" / "policy-common.schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def read_profile(document: YamlDocument, name: str, loaders: SectionLoaders) -> Profile:
    """Return the profile of that name. Raises ``BadYamlError``.

    The document matches the common schema.
    """
    path: DocumentPath = ("profiles", name)
    document.parse_at(path, value_parsers.parse_profile_name, name)
    texts, values = document.texts["profiles"][name], document.values["profiles"][name]
    if "image" in texts:
        document.parse_at((*path, "image"), value_parsers.parse_image, texts["image"])
    sections, unread = _read_sections(document, path, loaders)
    return Profile(
        name=name,
        image=texts.get("image", ""),
        resources=document.parse_pairs((*path, "resources"), yaml_values.parse_resource_pair),
        checkout=_read_checkout(document, (*path, "checkout"), values.get("checkout", {})),
        env=document.parse_pairs((*path, "env"), yaml_values.parse_env_pair),
        secrets=tuple(texts.get("secrets", ())),
        secrets_allowed=tuple(texts.get("allowSecrets", ())),
        sections=sections,
        unread_sections=unread,
    )


def _read_checkout(
    document: YamlDocument, path: DocumentPath, values: Mapping[str, Any]
) -> CheckoutOptions:
    """Return a profile's options for the checkout. Raises ``BadYamlError``."""
    image = values.get("image", "")
    if image:
        document.parse_at((*path, "image"), value_parsers.parse_image, image)
    return CheckoutOptions(
        image=image,
        depth=int(values.get("depth", 1)),
        submodules={True: "1", False: ""}.get(values.get("submodules", False), "recursive"),
        lfs=values.get("lfs", False),
        sparse=tuple(values.get("sparse", ())),
    )


def _read_sections(
    document: YamlDocument, path: DocumentPath, loaders: SectionLoaders
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return what the sections of a profile hold, and the names of those that nobody here reads.

    Raises ``BadYamlError``.
    """
    keys = [key for key in document.values_at(path) if key not in _common_keys()]
    flat_keys = _find_flat_keys(keys, loaders)
    engines = [key for key in keys if key in loaders and key not in flat_keys]
    if flat_keys and FLAT_SECTION not in engines:
        engines.append(FLAT_SECTION)
    unread = tuple(key for key in keys if key not in engines and key not in flat_keys)
    for key in unread:
        _check_section_name(document, (*path, key), loaders)
    sections = {}
    for engine in engines:
        section = _load_section(document, (*path, engine), loaders[engine])
        part = _section_part(document, path, engine, flat_keys if engine == FLAT_SECTION else ())
        part.validate_schema(section.closed_schema)
        sections[engine] = section.parse(part)
    return sections, unread


def _common_keys() -> tuple[str, ...]:
    return tuple(common_schema()["$defs"]["profile"]["properties"])


def _find_flat_keys(keys: Collection[str], loaders: SectionLoaders) -> list[str]:
    """Return the keys at a profile's top that belong to the section ``FLAT_SECTION``."""
    section = loaders[FLAT_SECTION]() if keys and FLAT_SECTION in loaders else None
    return [key for key in keys if section is not None and key in section.keys]


def _check_section_name(
    document: YamlDocument, path: DocumentPath, loaders: SectionLoaders
) -> None:
    """Raise ``BadYamlError`` if a key can't be the section of an engine that is not installed.

    Such a section is a mapping, and its name is no typo of a known engine, nor of a known key that
    has a mapping.
    """
    from difflib import get_close_matches

    key, known_keys = str(path[-1]), [*_common_keys(), *loaders]
    flat_section = loaders[FLAT_SECTION]() if FLAT_SECTION in loaders else None
    meant = [name for name in [*_mapping_keys(flat_section), *loaders] if _is_typo(key, name)]
    is_mapping = isinstance(document.values_at(path), dict)
    if meant or not is_mapping or not _SECTION_NAME.fullmatch(key):
        flat_keys = flat_section.keys if flat_section is not None else ()
        close = meant or get_close_matches(key, [*known_keys, *flat_keys], 1, _CLOSE_NAME)
        hint = f"did you mean {close[0]}?" if close else yaml_document.key_hint(key, known_keys)
        raise document.error_at(path, f"unknown key {key!r}", hint)


def _mapping_keys(flat_section: ProfileSection | None) -> list[str]:
    """Return the keys at a profile's top, apart from sections, that may have a mapping."""
    from jsonschema import Draft202012Validator

    policy = Draft202012Validator(common_schema())
    found = [key for key in _common_keys() if policy.is_valid({"profiles": {"a": {key: {}}}})]
    if flat_section is not None:
        section = Draft202012Validator(flat_section.closed_schema)
        found += [key for key in flat_section.keys if section.is_valid({key: {}})]
    return found


def _is_typo(text: str, name: str) -> bool:
    """Return True if a name was meant: one letter is missing, added or another, or two are swapped.

    Digits are no slips of the pen: ``slurm2`` is another engine than ``slurm``.
    """
    one, other = text.lower(), name.lower()
    for _ in range(2):  # what is the same at the beginning, then at the end
        same = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
        )
        one, other = one[same:][::-1], other[same:][::-1]
    is_swap = len(one) == 2 and one == other[::-1]
    return (is_swap or max(len(one), len(other)) <= 1) and not re.search(r"[0-9]", one + other)


def _load_section(
    document: YamlDocument, path: DocumentPath, load: Callable[[], ProfileSection | None]
) -> ProfileSection:
    """Return an engine's section. Raises ``BadYamlError`` if it has none, or can't be loaded."""
    try:
        section = load()
    except UserError as error:
        raise document.error_at(path, error.message, error.hint) from error
    if section is None:
        message = f"engine {path[-1]} has no keys of its own in a profile"
        raise document.error_at(path, message, "remove the section")
    return section


def _section_part(
    document: YamlDocument, path: DocumentPath, engine: str, flat_keys: Collection[str]
) -> YamlDocument:
    """Return an engine's section, with those of its keys that stand at the profile's top.

    Raises ``BadYamlError`` for a section that is no mapping, and a key that stands in both places.
    """
    section_path = (*path, engine)
    given = document.values_at(path).get(engine, {})
    if not isinstance(given, dict):
        hint = f"the keys of engine {engine}, as a mapping"
        raise document.error_at(section_path, f"{given!r:.200} is not a mapping", hint)
    for key in flat_keys:
        if key in given:
            line = document.line_numbers[*path, key]
            hint = f"keep one of them: it stands at the profile's top too, in line {line}"
            raise document.error_at((*section_path, key), f"{key!r} is given twice", hint)
    return document.part_at(section_path, {key: (*path, key) for key in flat_keys})
