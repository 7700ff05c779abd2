"""Fyre: run code on a cluster with nothing but git."""

__version__ = "0.1.0"
