"""Find an engine by its name: those of Fyre, and those that installed packages add.

A package adds one by an entry point of the group ``fyre.engines``, which names an
``EngineFactory``. It can't replace one of Fyre's own.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import EntryPoint, entry_points

from fyre.engines.factory import EngineFactory
from fyre.errors import UserError
from fyre.runs.profile_file import ProfileSection, SectionLoaders

GROUP = "fyre.engines"
"""The group of the entry points."""

BUILTIN_ENGINES = {
    "local": "fyre.apps.builtin_engines:LOCAL",
    "kubernetes": "fyre.apps.builtin_engines:KUBERNETES",
}
"""The entry points of Fyre itself, which are found in a checkout that is not installed too."""


def engine_names() -> list[str]:
    """Return the names of all engines that there are: first those of Fyre itself."""
    added = {entry_point.name for entry_point in entry_points(group=GROUP)}
    return [*BUILTIN_ENGINES, *sorted(added - BUILTIN_ENGINES.keys())]


def find_engines_with(capability: str) -> list[str]:
    """Return the names of the engines that declare a capability, such as ``remote``.

    It loads them all. One that is broken is left out: whoever chooses it is told what is wrong.
    """
    return [name for name in engine_names() if _has_capability(name, capability)]


def _has_capability(name: str, capability: str) -> bool:
    try:
        return bool(getattr(find_engine(name).capabilities, capability))
    except UserError:
        return False


def find_engine(name: str) -> EngineFactory:
    """Return the engine of that name; raise ``UserError`` if there is none, or it is broken."""
    entry_point = _find_entry_point(name)
    if entry_point is None:
        raise UserError(
            f"there is no engine {name!r}",
            hint=" or ".join(f"--engine {known}" for known in engine_names()),
            exit_code=2,
        )
    try:
        factory = entry_point.load()
    except Exception as error:  # whatever the import of a package raises
        raise UserError(
            f"engine {name!r} can't be loaded: {type(error).__name__}: {error}",
            hint=_package_hint(entry_point),
        ) from error
    if not isinstance(factory, EngineFactory):
        raise UserError(
            f"engine {name!r} can't be used: {entry_point.value} is no EngineFactory",
            hint=_package_hint(entry_point),
        )
    return factory


def profile_sections() -> SectionLoaders:
    """Return for each engine that there is a function that loads its section of a profile.

    The function raises ``UserError`` if the engine, or its section, is broken.
    """
    return {name: partial(_load_profile_section, name) for name in engine_names()}


def _load_profile_section(name: str) -> ProfileSection | None:
    factory = find_engine(name)
    section = factory.profile_section() if factory.profile_section is not None else None
    if section is not None and name not in BUILTIN_ENGINES:
        _check_section(name, section)
    return section


def _check_section(name: str, section: ProfileSection) -> None:
    """Raise ``UserError`` if a package's schema is none: each value would be a traceback."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(section.schema)
    except jsonschema.SchemaError as error:
        entry_point = _find_entry_point(name)
        raise UserError(
            f"the profile section of engine {name!r} has no JSON schema: {error.message[:200]}",
            hint=_package_hint(entry_point) if entry_point is not None else "",
        ) from error


def _find_entry_point(name: str) -> EntryPoint | None:
    if name in BUILTIN_ENGINES:
        return EntryPoint(name, BUILTIN_ENGINES[name], GROUP)
    return next(iter(entry_points(group=GROUP, name=name)), None)


def _package_hint(entry_point: EntryPoint) -> str:
    package = entry_point.dist.name if entry_point.dist is not None else "fyre"
    return f"the package {package} provides it: is it made for this version of Fyre?"
