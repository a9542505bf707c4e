"""Bodies of requests: what is taken, and what is refused in one line."""

import json

import pytest

from experiments.common.served import Pair, Prompt
from experiments.serve import asked
from experiments.serve.config import LimitFlags
from tests.support.served_runs import Slow

LIMITS = LimitFlags(
    most_characters=9, most_tokens=6, most_texts=2, most_beam=4, most_written=7, most_waiting=9
)


class Writer(Slow):
    takes = frozenset({"temperature", "seed"})


def translation(**fields):
    return asked.translation(fields, Slow(), LIMITS)


def writing(**fields):
    return asked.writing(fields, Writer(), LIMITS, tokens=5)


def test_what_is_asked_is_read():
    assert translation(texts=["ab", ""]) == (["ab", ""], None)
    assert translation(texts=["ab"], beam=4) == (["ab"], 4)
    assert translation(texts=["ab"], beam=None) == (["ab"], None)
    assert writing(prompts=["ab"]) == ([Prompt("ab", None, None)], 5)
    found = writing(prompts=["a", "b"], tokens=7, seed=2**32 - 1, temperature=2)
    assert found == ([Prompt("a", 2**32 - 1, 2.0), Prompt("b", 2**32 - 1, 2.0)], 7)
    assert asked.pair({"source": "a"}, Slow(), LIMITS) == Pair("a", None)
    assert asked.pair({"source": "a", "target": ""}, Slow(), LIMITS) == Pair("a", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the body must be JSON; Expecting value"),
        (b"\xff\xfe\xff", "the body must be JSON; "),
        (b"{'texts': 1}", "the body must be JSON; Expecting property name"),
        (b"[" * 100_000, "the body must be JSON; it is nested too deep"),
        (b'{"texts": NaN}', "the body must be JSON; NaN is none of its numbers"),
        (b'{"texts": 1' + b"0" * 5000 + b"}", "the body must be JSON; "),
        (b"[]", "must be a JSON object; got a list"),
        (b"null", "must be a JSON object; got null"),
        (b'{"text": []}', "a field must be among texts, beam; got 'text'. Leave it out."),
        (b'{"beam": 3}', "`texts` must be there; got none. Add it."),
    ],
)
def test_a_body_that_is_no_request_is_refused(content, said):
    with pytest.raises(asked.Refused) as error:
        asked.body(content, ("texts", "beam"), "texts")
    assert error.value.status == 400 and said in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_body_is_its_fields():
    content = json.dumps({"texts": ["\u00e9"], "beam": 2}).encode()
    assert asked.body(content, ("texts", "beam"), "texts") == {"texts": ["\u00e9"], "beam": 2}


@pytest.mark.parametrize(
    ("ask", "fields", "said"),
    [
        (translation, {"texts": "ab"}, "`texts` must be a list of texts; got 'ab'."),
        (translation, {"texts": {}}, "`texts` must be a list of texts; got an object."),
        (translation, {"texts": []}, "`texts` must hold 1 to 2 texts; got 0."),
        (translation, {"texts": ["a"] * 3}, "`texts` must hold 1 to 2 texts; got 3."),
        (translation, {"texts": [None]}, "`texts` must be text; got null."),
        (translation, {"texts": ["a", 3]}, "`texts` must be text; got 3."),
        (translation, {"texts": ["a" * 10]}, "at most 9 characters a text; got 10. Divide it."),
        (translation, {"texts": ["a" * 7]}, "at most 6 tokens a text; got 7. Divide it."),
        (translation, {"texts": ["\ud800"]}, "`texts` must be text; got halves of a character."),
        (translation, {"texts": ["a"], "beam": 5}, "a whole number from 1 to 4; got 5."),
        (translation, {"texts": ["a"], "beam": 0}, "a whole number from 1 to 4; got 0."),
        (translation, {"texts": ["a"], "beam": 2.0}, "a whole number from 1 to 4; got 2.0."),
        (translation, {"texts": ["a"], "beam": True}, "from 1 to 4; got a truth value."),
        (writing, {"prompts": ["a"], "tokens": 8}, "`tokens` must be a whole number from 1 to 7"),
        (writing, {"prompts": ["a"], "tokens": None}, "`tokens` must be a whole number"),
        (writing, {"prompts": ["a"], "seed": -1}, "`seed` must be a whole number from 0 to"),
        (writing, {"prompts": ["a"], "seed": 2**32}, "`seed` must be a whole number from 0 to"),
        (writing, {"prompts": ["a"], "temperature": 0}, "`temperature` must be a number from 0.01"),
        (writing, {"prompts": ["a"], "temperature": 1e9}, "`temperature` must be a number"),
        (writing, {"prompts": ["a"], "temperature": "1"}, "`temperature` must be a number"),
        (writing, {"prompts": ["a"], "temperature": True}, "got a truth value"),
    ],
)
def test_what_is_beyond_the_rules_is_refused(ask, fields, said):
    with pytest.raises(asked.Refused) as error:
        ask(**fields)
    assert error.value.status == 400 and said in str(error.value)


def test_options_that_the_model_does_not_take_are_refused():
    with pytest.raises(asked.Refused, match="`beam` does not go with the search of this server"):
        asked.translation({"texts": ["a"], "beam": 2}, Writer(), LIMITS)
    with pytest.raises(asked.Refused, match="`seed` does not go with the search of this server"):
        asked.writing({"prompts": ["a"], "seed": 2}, Slow(), LIMITS, tokens=5)


def test_a_source_without_tokens_is_refused():
    with pytest.raises(asked.Refused, match="`source` must hold a token; got ''"):
        asked.pair({"source": ""}, Slow(), LIMITS)
