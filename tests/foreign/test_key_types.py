"""Primary keys that are objects of a library's own type: taken by their text, or named by a check."""

from tests.foreign.project import ForeignProject

# As fields of packages such as django-hashid-field and django-ulid have them.
MODELS = """
    class Code:
        def __init__(self, text):
            self.text = text

        def __str__(self):
            return self.text

        def __eq__(self, other):
            return isinstance(other, Code) and other.text == self.text

        def __hash__(self):
            return hash(self.text)

    class Coded:
        def from_db_value(self, value, expression, connection):
            return value if value is None else Code(value)

        def to_python(self, value):
            return value if value is None or isinstance(value, Code) else Code(str(value))

        def get_prep_value(self, value):
            return value if value is None else str(value)

    class CodeField(Coded, models.CharField):
        pass

    class OwnField(Coded, models.Field):
        def db_type(self, connection):
            return "varchar(20)"

    class Doc(models.Model):
        id = CodeField(primary_key=True, max_length=20)
        title = models.CharField(max_length=50)

    class Other(models.Model):
        id = OwnField(primary_key=True)
"""
JOBS = """
    from people.models import Doc, Other

    @warm_many("doc:{id}", ids=Doc.objects.values_list("id", flat=True), depends_on={Doc: "id"})
    def docs(ids):
        return {row["id"]: row["title"] for row in Doc.objects.filter(id__in=ids).values()}

    @warm_many("other:{id}", ids=Other.objects.values_list("id", flat=True), depends_on={Other: "id"})
    def others(ids):
        return {row["id"]: 1 for row in Other.objects.filter(id__in=ids).values()}
"""


def test_key_types__objects_are_known_by_their_text(foreign: ForeignProject) -> None:
    foreign.add("people/models.py", MODELS)
    foreign.add("people/warming.py", JOBS)
    foreign.manage_each("makemigrations people", "migrate")
    foreign.run("from people.models import Doc; [Doc.objects.create(id=n, title=f'Old {n}') for n in 'AB']")
    with foreign.worker():
        foreign.manage("warm_cache", "--workers")
    found = foreign.run("""
        from django.conf import settings
        from django.core.cache import caches
        cache = caches[settings.WARMER_CACHE]
        from people.models import Code, Doc
        from people.warming import docs
        warmed = cache.get_many(["doc:A", "doc:B"])
        Doc.objects.filter(id="A").update(title="New")
        left = cache.get_many(["doc:A", "doc:B"])
        read = docs.get(Doc.objects.get(id="A").pk), docs.get("A"), [*docs.get_many([Code("B")]).values()]
        docs.invalidate([Code("B")])
        result = warmed, left, read, cache.get_many(["doc:A", "doc:B"])
    """)
    assert found == [
        {"doc:A": "Old A", "doc:B": "Old B"},
        {"doc:B": "Old B"},
        ["New", "New", ["Old B"]],
        {"doc:A": "New"},
    ]
    audited, checked, found = foreign.manage_each("cache_audit", "check", "cache_doctor")
    assert "docs" in audited
    assert ["exit 1: " in said for said in (audited, found)] == [False, True]  # no worker runs any more
    assert checked.count("warmer.W014") == 1
    assert "people.Other" in checked
