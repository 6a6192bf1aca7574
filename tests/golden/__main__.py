"""`python -m tests.golden`: compare what is computed with what is stored; with --update, store it."""

import argparse
import sys

from tests.golden import values


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the values of now to tests/golden/values.json")
    parser.add_argument(
        "--same-versions",
        action="store_true",
        help="with --update: also where no version was raised, because nobody has results of it yet",
    )
    given = parser.parse_args()
    return _update(given.same_versions) if given.update else _compare()


def _compare() -> int:
    found = [problem for name in values.cases() if (problem := values.problem(name))]
    found += [f"{name} is stored, and there is no such case any more: {values.UPDATE}" for name in values.left_over()]
    print("\n\n".join(found) or f"{len(values.cases())} cases are what is stored")
    return 1 if found else 0


def _update(same_versions: bool) -> int:
    changed = values.unraised()
    if changed and not same_versions:
        print(
            "These are not what is stored, and no version was raised, so that old results would be taken for new ones:"
        )
        print("\n".join(f"  {name}" for name in changed))
        print("Raise:", *values.where_of(changed), sep="\n  ")
        print("or, if nobody has results of this version yet, update with --same-versions.")
        return 1
    print(f"{values.write()} of {len(values.cases())} cases were written to {values.FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
