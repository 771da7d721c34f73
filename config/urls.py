"""The project's URLs."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("warmer.urls")),
    path("", include("myapp.urls")),
    path("users/", include("users.urls")),
]
