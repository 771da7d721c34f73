"""Users in the admin."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from users.models import CustomUser


@admin.register(CustomUser)
class CustomUserAdmin(UserAdmin):
    """Django's own user admin, with email, activity and the public profile."""

    list_display = ["username", "email", "activity", "is_active", "is_staff"]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups"]
    ordering = ["-activity", "id"]
    fieldsets = [
        *(UserAdmin.fieldsets or []),
        ("Public profile", {"fields": ["location", "bio", "activity"]}),
    ]
    # The email address is required and unique, so the form for new users must include it.
    add_fieldsets = [
        *UserAdmin.add_fieldsets,
        (None, {"classes": ["wide"], "fields": ["email", "first_name", "last_name"]}),
    ]

    def view_on_site(self, obj: CustomUser) -> str | None:
        """Link to the public profile, if there is one."""
        return obj.get_absolute_url() if obj.is_active else None
