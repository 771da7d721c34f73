"""`/metrics`, for Prometheus to scrape."""

from __future__ import annotations

from importlib.util import find_spec

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from warmer.conf import conf
from warmer.report import describe

if find_spec("prometheus_client"):
    from warmer.monitoring.metrics.collector import scrape
else:  # pragma: no cover - the test environment has it

    def scrape(accept: str) -> tuple[bytes, str]:
        """Say what is missing."""
        raise Http404("Run 'pip install warmer[metrics]'")


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with the metrics; 404 while `WARMER_METRICS` is off."""
    if not conf.METRICS:
        raise Http404
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
