"""URLs for a project to include: path("", include("warmer.urls"))."""

from django.urls import path

from warmer import views

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
]
