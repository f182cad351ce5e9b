"""When a file is given up whose readers die."""

from actors.deaths import MAX_DEATHS, Deaths


def test_a_file_is_given_up_when_reader_after_reader_dies_at_the_same_place() -> None:
    deaths = Deaths()

    assert [deaths.too_many("row 7") for _ in range(MAX_DEATHS)] == [False] * (MAX_DEATHS - 1) + [True]


def test_deaths_with_progress_between_them_are_no_fault_of_the_file() -> None:
    deaths = Deaths()

    assert not any(deaths.too_many(n // (MAX_DEATHS - 1)) for n in range(100))
