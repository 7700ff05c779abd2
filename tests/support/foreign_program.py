"""A program that no machine of ours can run."""

from __future__ import annotations

FOREIGN_ELF = b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16" + bytes(44)
"""The head of a program for IBM's s390: to the kernel an ``exec format error``."""
