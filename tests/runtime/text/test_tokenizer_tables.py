"""A tokenizer's tables come with a bundle, so whoever made that decides them: damaged ones are refused, none hangs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.errors import BundleError
from edgeclf_runtime.text.text_repair import RepairTables
from edgeclf_runtime.text.tokenizer import Tokenizer, TokenizerTables

LATIN = "".join(map(chr, range(256)))
REPAIR = RepairTables(
    "[\u00c2\u00c3]", (("latin-1", LATIN),), "\u00c3 ", "\u00c3", "x^", {"&amp;": "&"}, {"\u2019": "'"}
)
TABLES = TokenizerTables(("c a", "ca t</w>"), ((97, 122), (224, 255)), ((48, 57),), ((33, 47),), 16, "lower", REPAIR)


def parse(tables: Any) -> Tokenizer:
    return Tokenizer.parse(json.dumps(tables).encode(), "tokenizer.json")


def test_sound_tables_tokenize_and_repair() -> None:
    tokenizer = parse(to_json(TABLES))
    assert tokenizer(["a cat"]).shape == (1, 16)
    assert tokenizer.encode("caf\u00c3\u00a9 &amp;amp; cat") == tokenizer.encode("caf\u00e9 & cat")
    assert tokenizer.encode("&" + "amp;" * 300) == tokenizer.encode("&")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("context_length", 2),
        ("context_length", 10**9),
        ("merges", ["one"]),
        ("letters", [[97, 10**20]]),
        ("letters", [[122, 97]]),
        ("letters", [[-1, 97]]),
        ("repair.bad", "("),
        ("repair.bad", "(" * 5000 + ")" * 5000),
        ("repair.bad", "a{99999999999999999999}"),
        ("repair.characters", {"ab": "c"}),
        ("repair.characters", {"": "c"}),
        ("repair.characters", {"c": "c" * 1_000_000}),
        ("repair.entities", {"&amp;": "c" * 1_000_000}),
        ("repair.charmaps", [["latin-1", "abc"]]),
        ("repair.altered_bytes", "\u20ac"),
    ],
)
def test_damaged_tables_are_one_line(field: str, value: Any) -> None:
    tables = to_json(TABLES)
    *outer, name = field.split(".")
    place = tables[outer[0]] if outer else tables
    place[name] = value
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        parse(tables)


@pytest.mark.parametrize("field", ["bad", "altered_bytes", "lossy_bytes", "utf8_in_text"])
@pytest.mark.parametrize(
    "expression",
    [
        "(a|a)+b",
        "(a+)+",
        "a*b",
        "(?:.|.){30}x",
        "(a?a?a?a?a?a?a?a?a?)x",
        "(a|a)(a|a)(a|a)x",
        "[#](a|a)+ #\n b",
        "(a|a)+\n",
        "\\#(a|a)+b",
        "[]#](a|a)+b",
        "(?x:#(a|a)+b\n)",
        "(?-x:#(a|a)+b\n)",
        "(a|a)++b",
        "(a|a)+?b",
        "(a|a){2,}b",
        "(?:\u00e9?\u00e9?\u00e9?){4}z",
        "(?:(?:aa|a){4}){4}z",
        "(?:(?:a{1}|aa|aaa|a{4}){4}){4}z",
        "(?=(?:a?a?a?){4}z)",
        "(?:a|aa)?z",
        "a|" * 20_000,
        f"({'a|' * 4000}b)({'a|' * 4000}b)z",
    ],
)
def test_an_expression_whose_search_may_never_end_is_refused(field: str, expression: str) -> None:
    """But a blank at the end of a verbose one, and what its comments say, are no part of it."""
    if field in ("bad", "utf8_in_text") and expression == "(a|a)+\n":
        return
    with pytest.raises(ValueError, match="may take forever"):
        replace(REPAIR, **{field: expression})


@pytest.mark.parametrize("expression", ["[(*+?] (?<! [a-z]) ( a b{2} | c{3} )+ ", r"\( \* \s? # a comment (with +*?)+"])
def test_a_sound_verbose_expression_is_taken(expression: str) -> None:
    assert replace(REPAIR, bad=expression).bad == expression


@pytest.mark.parametrize(
    "changes",
    [
        {"characters": {"c": "cc"}},
        {"characters": {"c": "t", "t": "c"}},
        {"entities": {"&amp;": "&amp;&amp;"}},
        {"bad": "[\u00e9]", "charmaps": (("latin-1", "\u00e9" * 256),)},
    ],
)
def test_tables_that_repair_without_end_are_an_error_and_no_hang(changes: dict[str, Any]) -> None:
    tokenizer = parse(to_json(replace(TABLES, repair=replace(REPAIR, **changes))))
    try:
        tokenizer(["a cat &amp; caf\u00e9"])
    except BundleError as error:
        assert "never ends repairing" in str(error)
    else:
        assert "charmaps" in changes  # it comes to an end by itself
