"""Health for load balancers, and metrics for Prometheus. Responses contain no addresses."""

from importlib.util import find_spec

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from warmer.conf import conf
from warmer.models import outside_transactions
from warmer.monitoring.health import readiness
from warmer.report import describe


@require_safe
@never_cache
@outside_transactions  # else Django would ask the database before
def healthz(request: HttpRequest) -> JsonResponse:
    """Return 200, because the process responds. Nothing else is checked."""
    return JsonResponse({"ok": True})


@require_safe
@never_cache
@outside_transactions  # else Django would ask the database before
def readyz(request: HttpRequest) -> JsonResponse:
    """Return 200 if the process may receive requests, otherwise 503 with the reasons.

    `degraded` lists failing checks that do not keep requests away.
    """
    found = readiness()
    ok = all(check.ok for check in found if check.is_required)
    degraded = [check.name for check in found if not check.ok and not check.is_required]
    checks = {check.name: {"ok": check.ok} | ({"why": check.why} if check.why else {}) for check in found}
    answer = {"ok": ok, "checks": checks} | ({"degraded": degraded} if degraded else {})
    return JsonResponse(answer, status=200 if ok else 503)


@require_safe
@never_cache
@outside_transactions  # else Django would ask the database before
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics; 404 while `WARMER_METRICS` is off."""
    if not conf.METRICS:
        raise Http404
    if not find_spec("prometheus_client"):  # pragma: no cover - the test environment has it
        raise Http404('Run: pip install "warmer[metrics]"')
    from warmer.monitoring.metrics import scrape  # it needs an extra

    if conf.METRICS_TOKEN and not _shows_token(request):
        refusal = HttpResponse("Send 'Authorization: Bearer <WARMER_METRICS_TOKEN>'.\n", "text/plain", 401)
        refusal["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return refusal
    try:
        body, content_type = scrape(request.headers.get("Accept", ""))
    except (OperationalError, InterfaceError) as error:
        return HttpResponse(f"The database does not answer: {describe(error)}\n", "text/plain", 503)
    return HttpResponse(body, content_type)


def _shows_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and constant_time_compare(token.strip(), conf.METRICS_TOKEN)
