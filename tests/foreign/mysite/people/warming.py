from datetime import timedelta

from people.models import Person
from warmer import warm, warm_many


@warm_many(
    "person:{id}",
    ids=Person.objects.values_list("id", flat=True),
    depends_on={Person: "id"},
    every=timedelta(minutes=15),
)
def people(ids):
    return {row["id"]: row for row in Person.objects.filter(id__in=ids).values()}


@warm("names", depends_on=[Person])
def names():
    return list(Person.objects.order_by("id").values_list("name", flat=True))
