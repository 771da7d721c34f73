"""The addresses that a project includes: path("", include("warmer.urls"))."""

from __future__ import annotations

from django.urls import path

from warmer.monitoring.metrics_view import metrics

urlpatterns = [
    path("metrics", metrics, name="metrics"),
]
