"""The Celery side, and the only part that imports Celery."""

from warmer.tasks.broker import (
    NAMESPACE,
    app_name,
    has_broker,
    problem_of_address,
    problem_of_formats,
    unread_setting,
)
from warmer.tasks.relaying import request_pending
from warmer.tasks.runs import follow_up, request_refresh, request_run, start_run, warm_batch
from warmer.tasks.upkeep import (
    audit_job,
    audit_sample,
    close_stalled_runs,
    forget_runs,
    observe_jobs,
    request_audit,
    scheduled_run,
)
from warmer.tasks.workers import (
    Broker,
    Workers,
    consumers,
    find_workers,
    look_at_broker,
    queue_lengths,
    queue_names,
    undeclared_queues,
)
