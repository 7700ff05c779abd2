"""Profiles for a cluster in one call: the common fields, and those of the section kubernetes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fyre.engines.kubernetes.kubernetes_profile import SECTION_NAME, KubernetesProfile
from fyre.runs.profiles import Profile

_SECTION_FIELDS = {field.name for field in fields(KubernetesProfile)}


def cluster_profile(name: str = "default", **given: Any) -> Profile:
    section = KubernetesProfile(**{key: given.pop(key) for key in _SECTION_FIELDS & given.keys()})
    return Profile(name, sections={SECTION_NAME: section}, **given)
