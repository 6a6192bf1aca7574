"""What is computed is what is stored, or a version says that it is something else."""

import pytest

from tests.golden import values

pytestmark = pytest.mark.filterwarnings("ignore:It is highly recommended")


@pytest.mark.parametrize("name", list(values.cases()))
def test_what_is_computed_is_what_is_stored(name):
    if name not in values.stored()["cases"] and name not in values.missing():
        pytest.skip("an optimizer of another version of timm")
    if values.needs_more(name):
        pytest.skip("pip install 'prunebench[hf]'")
    if problem := values.problem(name):
        pytest.fail(problem, pytrace=False)


def test_there_are_stored_values_of_all_that_is_registered_and_of_nothing_else():
    assert values.missing() == [], f"write them with {values.UPDATE}"
    assert values.left_over() == [], f"take them away with {values.UPDATE}"
