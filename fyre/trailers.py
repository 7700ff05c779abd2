"""The trailers of a commit message, under the public name: ``fyre.trailers.parse``."""

from fyre.message.trailers import Trailer, parse

__all__ = ["Trailer", "parse"]
