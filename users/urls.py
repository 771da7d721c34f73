"""The URLs of the public profiles."""

from django.urls import path, register_converter

from users import views
from users.converters import RowIdConverter

register_converter(RowIdConverter, "user_id")

app_name = "users"
urlpatterns = [
    path("<user_id:user_id>/", views.profile, name="profile"),
]
