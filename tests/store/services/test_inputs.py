"""What people give is read with the words of a configuration file."""

import msgspec
import pytest

from metamcp_asgi.store.services.inputs import NewServer, ServerChanges


def test_inputs_read_the_words_of_a_configuration_file() -> None:
    body = b'{"name": "x", "url": "http://a", "bearerToken": null, "env": {"A": null}, "ownerId": null}'
    given = msgspec.json.decode(body, type=NewServer)
    assert (given.bearer_token, given.env, given.owner_id, given.headers) == (None, {"A": None}, None, msgspec.UNSET)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"nome": "x"}', type=ServerChanges)
