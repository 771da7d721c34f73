"""Wiring: import the `warming` modules, connect the signals, keep the schedule in sync."""

import logging
from typing import Any

from django.apps import AppConfig, apps
from django.core.signals import request_finished, setting_changed
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, post_save, pre_migrate
from django.utils.module_loading import autodiscover_modules

logger = logging.getLogger(__name__)


class WarmerConfig(AppConfig):
    """The app config."""

    name = "warmer"
    verbose_name = "Cache warming"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the declared jobs and connect the receivers that keep them correct."""
        # Django requires that models, and modules that import them, are imported here and not earlier.
        from warmer import checks, conf, signals, tasks  # noqa: F401
        from warmer.declarations.registry import jobs
        from warmer.filling import read_counters
        from warmer.invalidation import receivers, relay, transactions, triggers

        conf.check_settings()
        autodiscover_modules("warming")
        jobs.check_models()

        receivers.listen()
        setting_changed.connect(receivers.follow, dispatch_uid="warmer.receivers")
        signals.triggers_changed.connect(receivers.listen, dispatch_uid="warmer.receivers")
        connection_created.connect(transactions.on_connection, dispatch_uid="warmer.transactions")
        post_save.connect(transactions.on_saved, dispatch_uid="warmer.transactions")
        pre_migrate.connect(triggers.on_migrating, sender=self, dispatch_uid="warmer.triggers")
        post_migrate.connect(triggers.on_migrated, sender=self, dispatch_uid="warmer.triggers")
        post_migrate.connect(relay.on_migrated, sender=self, dispatch_uid="warmer.relay")
        for signal, receiver in (
            (signals.refresh_wanted, lambda sender, **_: tasks.request_refresh(sender)),
            (signals.pending_wanted, lambda **_: tasks.request_pending()),
            (signals.queue_lengths_wanted, lambda **_: tasks.queue_lengths(tasks.queue_names(jobs.specs()))),
        ):
            signal.connect(receiver, weak=False, dispatch_uid="warmer.tasks")
        signals.run_finished.connect(_run_finished, dispatch_uid="warmer.run_finished")
        signals.keys_invalidated.connect(read_counters.on_invalidated, dispatch_uid="warmer.read_counters")
        request_finished.connect(read_counters.flush_if_due, dispatch_uid="warmer.read_counters")
        setting_changed.connect(read_counters.follow_settings, dispatch_uid="warmer.read_counters")
        read_counters.follow_settings()
        if apps.is_installed("django_celery_beat"):
            post_migrate.connect(_sync_schedule, sender=self, dispatch_uid="warmer.schedule")


def _run_finished(run: Any, **_kwargs: Any) -> None:
    from warmer import tasks
    from warmer.models import RunTotal
    from warmer.monitoring.observation import observe_after
    from warmer.report import Outcome

    keys = ", ".join(f"{getattr(run.report, each)} {each.replace('_', ' ')}" for each in Outcome)
    queries = f"{run.report.queries} {'query' if run.report.queries == 1 else 'queries'}"
    error = f": {run.error}" if run.error else ""
    took = run.took or 0.0
    logger.info("%s (%s): %s, %s, %s, %.2f s%s", run, run.trigger, run.state, keys, queries, took, error)
    tasks.follow_up(run)
    observe_after(run)
    RunTotal.objects.add(run)


def _sync_schedule(using: str, **_kwargs: Any) -> None:
    from warmer import schedule

    if schedule.tables_exist(using):
        schedule.sync()
