"""The sensor that sends alarms; it is there, and on, if `LAION_ALERT_URL` is set."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain

import dagster as dg

from laion_assets.alarms.causes import Heard
from laion_assets.alarms.channel import AlarmError, check_address, send
from laion_assets.alarms.findings import find_in_runs, find_late

SENSOR_NAME = "send_alarms"
INTERVAL_S = 30
# A tick has a minute; one that is not delivered may take ten seconds.
MAX_SENT = 20


def build_send_alarms(url: str, web_ui: str, late: Iterable[str]) -> dg.SensorDefinition:
    """Returns the sensor.

    Args:
        url: where alarms go.
        web_ui: the address of Dagster's pages, for links.
        late: the assets with a freshness policy.

    Raises:
        LaionError: nothing can be sent to the address.
    """
    check_address(url)
    dated = [dg.AssetKey(name) for name in late]

    @dg.sensor(
        name=SENSOR_NAME,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Tells the address in LAION_ALERT_URL of runs and checks that failed, and of assets "
            "that are late: one message for each cause, until it is over."
        ),
    )
    def send_alarms(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = time.time()
        heard = Heard.read(context.cursor, now)
        findings = chain(
            find_in_runs(context.instance, heard, web_ui),
            find_late(context.instance, dated, now, web_ui),
        )
        heard.unsent += heard.hear(findings)
        said = "nothing new failed"
        for alarm in heard.unsent[:MAX_SENT]:
            try:
                send(url, alarm)
            except AlarmError as error:
                said = str(error)
                context.log.warning(said)
                break
            context.log.info(f"told of: {alarm.title}: {alarm.reason}")
            said = f"told of {alarm.title}"
            heard.unsent = heard.unsent[1:]
        return dg.SensorResult(skip_reason=said, cursor=heard.write())

    return send_alarms
