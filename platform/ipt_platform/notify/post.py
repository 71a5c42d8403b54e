"""One POST to a hook, and what its answer means."""

import email.utils
import logging
import time
from collections.abc import Callable
from datetime import UTC

import requests

from ipt_platform.notify.hooks import Hook
from ipt_platform.notify.message import Message, headers
from ipt_platform.observe.feed import FeedError

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0

LONGEST_PAUSE = 3600.0
"""Seconds; a hook that asks for a longer pause is asked again then."""

_AGAIN = {408, 425, 429}


def post(hook: Hook, message: Message, clock: Callable[[], float] = time.time) -> int:
    """Send a message once. Certificates are checked, no redirect is followed, and no answer is read.

    Args:
        hook: to whom.
        message: what.
        clock: seconds since 1970.

    Returns:
        The status of the answer: 2xx is taken, anything else refused for good.

    Raises:
        FeedError: it should be sent again: nobody answered, or the answer was 5xx, 408, 425 or 429.
    """
    # It warns of an answer whose headers are none, and shows the whole address.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    with requests.Session() as session:
        session.auth = _without_login
        try:
            answer = session.post(
                hook.url,
                data=message.body,
                headers=headers(hook.key, message, int(clock())),
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            # Its words would show the whole address; as a cause they would come into the log.
            raise FeedError(f"{hook.host} does not answer: {type(error).__name__}") from None
        with answer:
            if answer.status_code >= 500 or answer.status_code in _AGAIN:
                pause = _pause(answer.headers.get("retry-after", ""), clock)
                raise FeedError(f"{hook.host} answers {answer.status_code}", pause)
            return answer.status_code


def _without_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from sending what a .netrc has for the host."""
    return request


def _pause(after: str, clock: Callable[[], float]) -> float:
    """Seconds that a Retry-After asks for: a number or a date."""
    if after.strip().isdecimal():
        return min(LONGEST_PAUSE, float(after))
    try:
        moment = email.utils.parsedate_to_datetime(after)
    except ValueError:
        return 0.0
    return min(LONGEST_PAUSE, max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - clock()))
