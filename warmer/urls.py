"""The addresses that a project includes: path("", include("warmer.urls"))."""

from __future__ import annotations

from django.urls import path

from warmer import views
from warmer.monitoring.metrics_view import metrics

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]
