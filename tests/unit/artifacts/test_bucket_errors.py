"""What a bucket's error says: one line, without keys, addresses and signatures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore import exceptions

from fyre.artifacts import bucket_errors

ANSWER = (
    "Generic S3 error: Error performing PUT http://10.0.0.7/b/k?X-Amz-Signature=SECRET in 1ms - "
    "Server returned non-2xx status code: {}: <?xml version='1.0'?>\n<Error><Code>{}</Code>"
    "<Message>The\n message.</Message><AWSAccessKeyId>SECRET</AWSAccessKeyId>"
    "<StringToSign>SECRET</StringToSign></Error>\n\nDebug source:\nSECRET"
)


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        (
            ANSWER.format("403 Forbidden", "RequestTimeTooSkewed"),
            PermissionError,
            "the store answers RequestTimeTooSkewed: this machine's clock and the store's differ",
        ),
        (
            ANSWER.format("403 Forbidden", "AccessDenied"),
            PermissionError,
            "the store answers AccessDenied: The message.",
        ),
        (
            ANSWER.format("503 Slow Down", "SlowDown"),
            OSError,
            "the store answers SlowDown: the store asks for fewer requests",
        ),
        (
            ANSWER.format("404 Not Found", "NoSuchBucket"),
            FileNotFoundError,
            "the store answers NoSuchBucket: The message.",
        ),
        (
            "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token",
            OSError,
            "there are no credentials in the environment",
        ),
        ("HTTP error: operation timed out", OSError, "the store takes too long to answer"),
        ("SECRET", OSError, "the store's answer can't be understood"),
    ],
)
def test_10_2_an_error_is_one_line_without_secrets(
    text: str, kind: type[OSError], line: str
) -> None:
    error = bucket_errors.to_os_error(exceptions.GenericError(text))
    assert type(error) is kind
    assert error.strerror == line


@given(st.text())
def test_10_2_nothing_that_a_store_says_breaks_the_line(text: str) -> None:
    line = bucket_errors.describe_error(exceptions.GenericError(text))
    assert line == " ".join(line.split())
