"""Names, headlines and logs are made by others: wherever they stand, they are text and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from opening import NARROW, Open, drop, rich

from builders import check, environment, record, run
from harness.codec import encode
from harness.records import Deviations, Element, Failure, Fused, Fusion, LayerTime, Measurement, Profile, Run, Unnamed

ALARM = "document.title='hacked'"
HOSTILE = {
    "script": f"<script>{ALARM}</script>",
    "quotes": f"\"'`><img src=x onerror={ALARM}>",
    "closing": f"</script><script>{ALARM}</script>",
    "svg": f"<svg onload={ALARM}>",
    "address": f"javascript:{ALARM}",
    "turned": "a\u202egnp.exe\u2066\u200f",
    "long": "x" * 10_000,
    "formula": "=HYPERLINK(1)",
    "template": "{{ 7 * 7 }}${7 * 7}",
}


def hostile(text: str) -> Run:
    """A run in which every string that others may choose holds the text."""
    name = text.replace("/", "\\")
    failure = Failure("build", text, text, text)
    layers = Profile((LayerTime(text, text, 1.0, 1.0, (text,)),), 1.0, 20, "gpu")
    told = Fused(text, text, text, text, text, (text,), 1, ms=1.0), Fused(text, text, text, text, opaque=True)
    fused = Fusion(
        (*told, Fused(text, text, text, text)), 3, (Unnamed(text, 1, (text,)), Unnamed("untold", 1, (text,)))
    )
    off = Deviations(text, 3, 1, {"0": 1}, (Element(0, (1,), text, text, 1.0), Element(2, (0, 1), text, text, None)))
    one = record(
        f"s/{name}/tensorrt/fp16/{name}", "failed", headline=text, error=failure, earlier=(failure,), notes=(text,),
        checks=(check(text, 0.5, 0.9, ok=False, output=text, reason=text),), attested={text: {text: text}},
        reproduce=text, measures={text: 1.0}, stages={text: 1.0}, profile=layers, baseline_profile=layers, fusion=fused,
        reference=text, why_stored=text, deviations=(off,),
        measurements=(Measurement(text, text, 1.0, {text: text}, f"worst element {text}"),),
    )  # fmt: skip
    case = replace(one.case, tags=(text,), environment=text)
    machine = environment(host=text, cpu=text, versions={text: text})
    one = replace(one, case=case, environment=text)
    other = replace(case, backend="onnxruntime-cpu", id=f"s/{name}/onnxruntime-cpu/fp16/{name}")
    beside = replace(one, case=other, status="passed")  # so that there is something to weigh
    return run(one, beside, id=text, commit=text, command=text, environments={text: machine})


def assert_inert(page, name: str) -> None:
    """The text stands there as text, and nothing came of it."""
    assert page.title() != "hacked"
    assert page.locator("main script, img, iframe, object, embed, [onerror], [onload]").count() == 0
    assert page.evaluate("[...document.links].every((link) => link.getAttribute('href').startsWith('#'))")
    assert page.evaluate("!/[\\u202a-\\u202e\\u2066-\\u2069\\u200f]/.test(document.body.innerText)")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    if name not in ("turned", "long"):
        assert HOSTILE[name] in page.inner_text("main")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_words_are_inert_wherever_they_stand(opened: Open, name: str) -> None:
    drawn = hostile(HOSTILE[name])
    page = opened(drawn, viewport=NARROW).page
    assert_inert(page, name)
    page.evaluate("document.querySelector('#cases-table tbody a.id').click()")
    page.wait_for_selector("#case-title")
    page.locator("#case details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    assert_inert(page, name)
    before = replace(drawn, id=f"{drawn.id} before", started="2020-01-01T00:00:00+00:00", records=())
    drop(page, json.dumps(encode(before)))
    page.wait_for_selector("#compared-rows tr")
    assert_inert(page, name)


def test_markup_in_names_makes_no_element(opened: Open) -> None:
    count = "document.querySelectorAll('#overview *').length"
    harmless = opened(hostile("x")).page.evaluate(count)
    assert opened(hostile(HOSTILE["script"])).page.evaluate(count) == harmless
    assert opened(rich()).page.evaluate(count) != harmless
