"""Posts and comments in the admin."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextareaWidget
from django.db import transaction
from django.db.models import QuerySet, TextField
from django.http import HttpRequest
from django.utils import timezone

from myapp.models import Comment, Post
from warmer import invalidate_for


class CommentInline(admin.TabularInline):
    """The comments of a post, to edit or delete.

    The author is read-only, because a select in each row would cost a query per row. Comments are added on
    their own page.
    """

    model = Comment
    fields = ["author", "body", "created_at"]
    readonly_fields = ["author", "created_at"]
    ordering = ["created_at", "id"]
    extra = 0
    formfield_overrides = {TextField: {"widget": AdminTextareaWidget(attrs={"rows": 3})}}
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Comment]:
        """Fetch the authors in the same query."""
        return super().get_queryset(request).select_related("author")

    def has_add_permission(self, request: HttpRequest, obj: Post | None = None) -> bool:
        """Comments are added on their own page, where an author can be chosen."""
        return False


@admin.register(Post)
class PostAdmin(admin.ModelAdmin):
    """Posts, with their comments."""

    list_display = ["title", "author", "views", "is_popular", "published_at"]
    list_filter = ["is_popular", "published_at"]
    list_select_related = ["author"]
    search_fields = ["title", "author__username", "author__last_name"]
    autocomplete_fields = ["author"]
    prepopulated_fields = {"slug": ["title"]}
    ordering = ["-id"]
    inlines = [CommentInline]
    actions = ["publish", "withdraw"]

    def view_on_site(self, obj: Post) -> str | None:
        """Link to the post's page, if there is one."""
        return obj.get_absolute_url() if obj.published_at else None

    @admin.action(description="Publish the selected drafts", permissions=["change"])
    def publish(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        """Publish drafts. Published posts keep their date."""
        drafts = queryset.filter(published_at__isnull=True)
        self._update_published_at(request, drafts, timezone.now(), "Published")

    @admin.action(description="Withdraw the selected posts", permissions=["change"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        """Unpublish posts: they become drafts again."""
        published = queryset.filter(published_at__isnull=False)
        self._update_published_at(request, published, None, "Withdrawn")

    def _update_published_at(
        self, request: HttpRequest, queryset: QuerySet[Post], value: object, done: str
    ) -> None:
        # `update()` sends no signals, so invalidate explicitly. The ids are read first, because the filter
        # would find other rows after the update.
        with transaction.atomic():
            changed = Post.objects.filter(pk__in=list(queryset.values_list("pk", flat=True)))
            count = changed.update(published_at=value)
            invalidate_for(changed)
        self.message_user(request, f"{done}: {count}.", messages.SUCCESS)


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin):
    """Comments of all posts."""

    list_display = ["__str__", "author", "post", "created_at"]
    list_filter = ["created_at"]
    list_select_related = ["author", "post"]
    search_fields = ["body", "author__username", "post__title"]
    autocomplete_fields = ["post", "author"]
    readonly_fields = ["created_at"]
    ordering = ["-id"]
