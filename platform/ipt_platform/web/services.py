"""What the pages share while the server lives: caches in bounded memory, made anew from files after a restart."""

import logging
import threading
from dataclasses import dataclass

from starlette.requests import Request

from ipt_platform.errors import IptError
from ipt_platform.web.checkpoints import Checkpoints
from ipt_platform.web.fleet import Fleet
from ipt_platform.web.registered import Registered
from ipt_platform.web.series import Library
from ipt_platform.web.settings import Settings
from ipt_platform.web.statuses import Members, Statuses

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What the pages share: `app.state.services`."""

    settings: Settings
    statuses: Statuses
    members: Members
    series: Library
    checkpoints: Checkpoints
    fleet: Fleet
    registered: Registered

    def warm(self) -> None:
        """Look at every run once, so that the first visitor need not wait for it."""
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def _warm(self) -> None:
        try:
            self.statuses.all()
        except IptError as error:
            log.warning("%s", error)  # whoever comes is told too


def make_services(settings: Settings) -> Services:
    """The services of a page that is started with these settings."""
    return Services(
        settings, Statuses(settings.storage), Members(), Library(), Checkpoints(), Fleet(settings), Registered(settings.storage)
    )


def services(request: Request) -> Services:
    """The services of the page that was asked."""
    return request.app.state.services
