"""Each mutation fits the code and the tests as they are: whoever moves either, moves the mutation too."""

import pytest

from tests.mutations.__main__ import Mutation

MUTATIONS = Mutation.load_all()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation__changes_a_text_that_its_file_has_once(mutation: Mutation) -> None:
    assert not mutation.problem()
    assert mutation.replacement != mutation.text


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation__names_tests_that_exist(mutation: Mutation) -> None:
    assert mutation.tests
    assert not mutation.missing_tests()


def test_mutations__have_names_of_their_own() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
