"""Health for load balancers. Anyone may ask, so the answers name no address."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from warmer.monitoring.health import readiness


@require_safe
@never_cache
@transaction.non_atomic_requests
def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the process answers; nothing else is asked."""
    return JsonResponse({"ok": True})


# Outside of a transaction: under ATOMIC_REQUESTS Django would ask the database before this is reached.
@require_safe
@never_cache
@transaction.non_atomic_requests
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer whether requests may come: 200, or 503 with what is in the way.

    What is wrong and no reason to send requests elsewhere is named too, under `degraded`.
    """
    found = readiness()
    ok = all(check.ok for check in found if check.is_required)
    degraded = [check.name for check in found if not check.ok and not check.is_required]
    checks = {check.name: {"ok": check.ok} | ({"why": check.why} if check.why else {}) for check in found}
    answer = {"ok": ok, "checks": checks} | ({"degraded": degraded} if degraded else {})
    return JsonResponse(answer, status=200 if ok else 503)
