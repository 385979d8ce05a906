"""Values mean what a reader takes them for; everything else is one line with place and mend."""

import math

import pytest

from mesm.config.yaml_text import parse_yaml, read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 10", 10),
        ("a: -3", -3),
        ("a: 5e-5", 5e-5),
        ("a: 1.0e+3", 1000.0),
        ("a: .5", 0.5),
        ("a: 007.5", 7.5),
        ("a: -.inf", -math.inf),
        ("a: 2020-01-01", "2020-01-01"),
        ("a: no", "no"),
        ("a: true", True),
        ("a: '010'", "010"),
        ("a: ", None),
        ("a: [1, [2, x]]", [1, [2, "x"]]),
        ("b: &x [1]\na: *x", [1]),
        ("b: &x {c: 1, d: 2}\na: {<<: *x, d: 3}", {"c": 1, "d": 3}),
        ("b: &x {c: 1}\ne: &y {c: 2, d: 2}\na: {<<: [*x, *y]}", {"c": 1, "d": 2}),
    ],
)
def test_values(text, value):
    assert parse_yaml(text, "f")["a"] == value


def test_not_a_number():
    assert math.isnan(parse_yaml(".nan", "f"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "line 2, column 11: the key 'c' stands twice"),
        ("a: 1\na: 1", "line 2, column 1: the key 'a' stands twice"),
        ("a: 010", "'010' may be read as several numbers"),
        ("a: 1:30", "'1:30' may be read"),
        ("a: 0x10", "'0x10' may be read"),
        ("a: 0b1", "'0b1' may be read"),
        ("a: 0o17", "'0o17' may be read"),
        ("a: 1_000", "'1_000' may be read"),
        ("a: 1_0.5", "'1_0.5' may be read"),
        ("a: " + "9" * 5000, "a number of 5000 characters"),
        ("a: " + "[" * 3000 + "]" * 3000, "more than 20 values in each other"),
        ("[" * 3000, "more than 20 values in each other"),
        ("a: &x [*x]", "an alias .* stands for too much, or for itself"),
        ("a: &x\n  b: *x", "an alias .* stands for too much, or for itself"),
        ("a: !!python/object:os.system x", "the tag .*python/object:os.system is not taken"),
        ("a: !!int '0x10'", "the tag .*int is not taken"),
        ("a:\n\t- b", "line 2, column 1: .*indent with spaces"),
        ("a: b: c", "line 1, column 5: mapping values"),
        ("a: \x00", "character 4 is .*write it anew as UTF-8 text"),
        ("? [a]\n: b", "a key must be a word"),
        ("a: {<<: 3}", "<< takes the keys of a mapping"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: *x", "undefined alias"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(text, "the file")
    shown = str(caught.value)
    assert shown.startswith("the file: not YAML (")
    assert "\n" not in shown
    assert len(shown) < 250


def test_aliases_of_aliases():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ValueError, match="stands for too much"):
        parse_yaml("\n".join(lines), "f")


def test_encodings(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_bytes("corpus: é\n".encode("utf-8-sig"))
    assert parse_yaml(read_text(file), "f") == {"corpus": "é"}
    for encoding, byte in (("latin-1", "0xe9 in line 2"), ("utf-16", "0xff in line 1")):
        file.write_bytes("a: 1\ncorpus: é\n".encode(encoding))
        with pytest.raises(ValueError, match=rf"c\.yaml: not UTF-8 \(byte {byte}\); save it as"):
            read_text(file)
    file.write_bytes("a: 1\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"not YAML .*write it anew as UTF-8"):
        parse_yaml(read_text(file), "f")
