"""Checks of tests/gateway once more, with two processes of which each request reaches another one (check 98)."""

import pytest

from tests.gateway.test_cancel_progress import (  # noqa: F401 - collected here once more
    test_check_71_the_same_token_of_several_clients,
    test_check_72_a_modern_client_that_leaves_cancels,
    test_check_73_a_legacy_client_cancels,
    test_check_73_a_request_of_a_batch_is_cancelled,
    test_check_73_somebody_else_cannot_cancel,
)
from tests.gateway.test_changes import (  # noqa: F401
    test_check_76_the_first_message_is_the_acknowledgement,
    test_check_77_a_real_server_announces,
)
from tests.gateway.test_legacy import (  # noqa: F401
    test_check_24_unknown_and_ended_sessions,
    test_check_25_the_session_of_somebody_else,
    test_check_29_two_streams_at_once_get_their_own,
    test_ending_a_session_ends_its_stream,
    test_same_request_id_in_two_sessions_and_twice_in_one,
    test_the_stream_of_a_session,
)
from tests.gateway.test_legacy_sse import (  # noqa: F401
    test_a_client_cancels,
    test_a_session_ends_with_its_stream,
    test_check_28_a_session,
    test_messages_of_somebody_else_and_to_nowhere,
)
from tests.gateway.test_lists import (  # noqa: F401
    test_check_34_the_lists_of_all_kinds_of_server,
    test_check_43_cacheable_results_carry_hints,
)
from tests.gateway.test_modern_features import (  # noqa: F401
    test_check_97_a_trace_goes_on_at_the_server,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")
