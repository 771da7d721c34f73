"""The URLs of the front page and of posts."""

from django.urls import path, register_converter

from myapp import views
from users.converters import RowIdConverter

register_converter(RowIdConverter, "post_id")

app_name = "myapp"
urlpatterns = [
    path("", views.front_page, name="front_page"),
    path("posts/<post_id:post_id>/<slug:slug>/", views.post, name="post"),
]
