"""The form in which an operator sets when a job is refreshed: bounded, and nothing else of the entry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms

from warmer.admin import beat
from warmer.admin.log import LONGEST_REASON
from warmer.declarations.spec import JobSpec

INTERVAL, CRONTAB = "interval", "crontab"
UNITS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400}
# Of an interval in seconds: beyond it the schedule says what is allowed.
LARGEST_NUMBER = 10_000_000


class ScheduleForm(forms.Form):
    """An interval or a crontab, and on or off."""

    kind = forms.ChoiceField(
        label="Refresh",
        choices=[(INTERVAL, "every so often"), (CRONTAB, "at the times of a crontab")],
        widget=forms.RadioSelect,
    )
    number = forms.IntegerField(
        label="Every",
        min_value=1,
        max_value=LARGEST_NUMBER,
        required=False,
        help_text="From 30 seconds to 30 days, and shorter than the timeout of the keys.",
    )
    unit = forms.ChoiceField(
        label="Unit of the interval", choices=[(unit, unit) for unit in UNITS], required=False
    )
    crontab = forms.CharField(
        label="Crontab",
        max_length=LONGEST_REASON,
        required=False,
        help_text="Five fields: minute, hour, day of month, month, day of week. E.g. */10 8-18 * * mon-fri",
    )
    enabled = forms.BooleanField(label="On: the schedule refreshes this job", required=False)
    why = forms.CharField(label="Why (for the log)", max_length=LONGEST_REASON, required=False)

    def clean(self) -> dict[str, Any]:
        """Ask for the fields of the chosen kind."""
        cleaned = super().clean() or {}
        kind = cleaned.get("kind")
        if kind == INTERVAL and not self.errors:
            if cleaned.get("number") is None:
                self.add_error("number", "Say how often.")
            elif not cleaned.get("unit"):
                self.add_error("unit", "Say in which unit.")
        if kind == CRONTAB and not cleaned.get("crontab", "").strip() and "crontab" not in self.errors:
            self.add_error("crontab", "Write the five fields.")
        return cleaned

    @property
    def timing(self) -> Any:
        """What a valid form asks for."""
        cleaned = self.cleaned_data
        if cleaned["kind"] == CRONTAB:
            return beat.edits.Timing(crontab=cleaned["crontab"], enabled=cleaned["enabled"])
        every = timedelta(seconds=cleaned["number"] * UNITS[cleaned["unit"]])
        return beat.edits.Timing(every=every, enabled=cleaned["enabled"])

    def refuse(self, error: Exception) -> None:
        """Show why what was asked for cannot be set, at the field that asks for it."""
        self.add_error("crontab" if self.cleaned_data["kind"] == CRONTAB else "number", str(error))


def initial(timing: Any) -> dict[str, Any]:
    """Return what the form shows of what is in force."""
    values: dict[str, Any] = {"enabled": timing.enabled}
    if timing.every is None:
        return values | {"kind": CRONTAB if timing.crontab else INTERVAL, "crontab": timing.crontab}
    seconds = round(timing.every.total_seconds())
    unit = next(unit for unit, size in reversed(UNITS.items()) if seconds % size == 0)
    return values | {"kind": INTERVAL, "number": seconds // UNITS[unit], "unit": unit}


def save(form: ScheduleForm, spec: JobSpec) -> str | None:
    """Set what a valid form asks for.

    Returns:
        What the operator should know of it; None when it was refused, which the form then says.
    """
    try:
        note: str = beat.edits.set_timing(spec, form.timing)
    except beat.edits.ScheduleError as error:
        form.refuse(error)
        return None
    return note
