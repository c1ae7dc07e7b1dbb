"""What a server asks, as a client is shown it (eras.md 2.6).

A question names the server that asks, because the client sees one server where there are many (EL-05); and no server
is told of another: the context of a sampling request is never "all servers" (SA-02).
"""

from typing import Any, Final

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.interaction.pages import Page
from metamcp_asgi.protocol.forms import misfit
from metamcp_asgi.protocol.jsonrpc import encode
from metamcp_asgi.upstream.request import Answer, Question

__all__ = ["ELICIT", "again", "answer_of", "page_of", "presented", "unfitting"]

ELICIT: Final = "elicitation/create"
_SAMPLE: Final = "sampling/createMessage"
_ROOTS: Final = "roots/list"

_ACTIONS: Final = ("accept", "decline", "cancel")


def presented(question: Question, server: str, elicitation_id: str | None = None) -> Question:
    """Return a question in the words in which a client is asked.

    Args:
        question: What the server asks.
        server: Its name.
        elicitation_id: Under which a legacy client may hear more of the page that it is about; never the server's own.
    """
    params = _object(question.params)
    for hop in ("_meta", "task"):
        params.pop(hop, None)
    if question.method == ELICIT:
        params["message"] = f"[{server}] {params.get('message', '')}"
        # A field of 2025-11-25 only.
        params.pop("elicitationId", None)
        if elicitation_id is not None:
            params["elicitationId"] = elicitation_id
    elif question.method == _SAMPLE:
        if params.get("includeContext", "none") != "none":
            params["includeContext"] = "none"
    elif question.method == _ROOTS:
        params = {}
    else:
        return question
    return Question(question.method, Raw(encode(params)))


def again(question: Question, reason: str) -> Question:
    """Return a question whose last answer did not fit, with the reason."""
    params = _object(question.params)
    params["message"] = f"{params.get('message', '')}\n(The last answer does not fit: {reason}.)"
    return Question(question.method, Raw(encode(params)))


def page_of(question: Question) -> Page | None:
    """Return the page that a question sends the user to, if it does."""
    params = _object(question.params) if question.method == ELICIT else {}
    if params.get("mode") != "url":
        return None
    try:
        return msgspec.convert(params, Page)
    except msgspec.ValidationError:
        return None


def unfitting(question: Question, answer: Raw) -> str:
    """Return why the answer of a user who accepts does not fit the form; nothing when it does, or there is none."""
    if question.method != ELICIT:
        return ""
    params, given = _object(question.params), _object(answer)
    if given.get("action") != "accept" or params.get("mode", "form") != "form":
        return ""
    return misfit(params.get("requestedSchema"), given.get("content")) or ""


def answer_of(question: Question, given: Raw) -> Answer:
    """Return what a modern client answered.

    Raises:
        ValueError: It is no answer to this question.
    """
    answer = _object(given)
    if question.method == ELICIT and answer.get("action") not in _ACTIONS:
        raise ValueError(f"the answer to an elicitation needs an action, one of {', '.join(_ACTIONS)}")
    if reason := unfitting(question, given):
        raise ValueError(reason)
    if question.method == _SAMPLE and not {"role", "content", "model"} <= answer.keys():
        raise ValueError("the answer to a sampling request needs role, content and model")
    if question.method == _ROOTS and not isinstance(answer.get("roots"), list):
        raise ValueError("the answer to roots/list needs a list of roots")
    # What a result is stamped with on its hop is not for the server.
    for member in ("resultType", "_meta"):
        answer.pop(member, None)
    return Answer(result=Raw(encode(answer)))


def _object(value: Raw) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
