"""Multipart bodies, through Starlette's parser, with bounds."""

from collections.abc import AsyncGenerator
from typing import Final

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from gateway.core.errors import GatewayError, Kind
from gateway.core.request import Form

_MOST_FILES: Final = 17  # OpenAI takes sixteen pictures and a mask
_MOST_FIELDS: Final = 64
_LONGEST_FIELD: Final = 1024 * 1024


class _Parser(MultiPartParser):
    # The body is in memory already and bounded: no part of it need go to disk.
    spool_max_size = 1024 * 1024 * 1024


async def read_form(content_type: bytes, body: bytes) -> Form:
    """Read a form's parts; names and types of files are not believed, so they are not kept.

    Raises:
        GatewayError: `invalid_value`, for what is no form or too much of one.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    headers = Headers(raw=[(b"content-type", content_type)])
    parser = _Parser(headers, stream(), max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeDecodeError) as exc:
        message = f"The multipart form cannot be read: at most {_MOST_FILES} files and {_MOST_FIELDS} other parts are."
        raise GatewayError(Kind.INVALID_VALUE, message) from exc
    fields: dict[str, str] = {}
    pictures: list[tuple[str, bytes]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            pictures.append((name, await value.read()))
        else:
            fields[name] = value
    await form.close()
    return Form(fields, pictures)
