"""An exporter of metrics in this process, which is there from the beginning."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from ipt_platform.observe.exposition import Exposition
from ipt_platform.observe.teller import Report

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Exporter(Exposition):
    """What is told to it (`observe.teller.Line`), it knows at once."""

    def send(self, reports: list[Report]) -> bool:
        self.apply(reports)
        return True

    def settle(self, seconds: float) -> None:
        pass

    def text(self) -> str:
        """What a scrape is given."""
        return generate_latest(self.registry).decode()

    def samples(self) -> Samples:
        """The values of a scrape by name and labels."""
        return {
            (each.name, tuple(sorted(each.labels.items()))): each.value
            for family in parse(self.text())
            for each in family.samples
        }
