from __future__ import annotations

from dataclasses import replace

from opening import NARROW, Open

from builders import record, run
from harness.records import Fused, Fusion, LayerTime, Profile, Record, Unnamed

FIRST = Fused("conv + relu", "CaskConvolution", "fp32", "tf32", "sm80_xmma", ("conv", "relu"), ms=0.75)
REGION = Fused("{ForeignNode[a...b]}", "Myelin", "fp32", "unknown", nodes=("a",), opaque=True, ms=0.25)
COPY = Fused("Reformatting CopyNode", "Reformat", "fp32", "unknown")
UNNAMED = Unnamed("constant", 1, ("w",)), Unnamed("region", 5, ("b", "c"))
TOLD = Fusion((FIRST, REGION, COPY), 9, UNNAMED)
TIMES = Profile((LayerTime("conv + relu", "CaskConvolution", 0.75, 0.75),), 1.0, 20, "gpu")


def opened_at(opened: Open, one: Record, **options):
    return opened(run(one), f"#case={one.case.id}", **options)


def test_the_table_tells_what_became_of_the_nodes(opened: Open) -> None:
    page = opened_at(opened, record(fusion=TOLD, profile=TIMES))

    words = page.page.locator("section.block", has=page.page.locator("h2", has_text="Fusion")).inner_text()
    assert "9 nodes of the file became 3 layers, 1 of them the runtime's own; layers name 3 of the nodes." in words
    assert "Layers take 1.000 ms together: median of 20 profiled inferences on the gpu clock." in words
    assert "By precision: fp32 / tf32 750.0 µs (75 %), fp32 250.0 µs (25 %)" in words
    assert page.texts("#case .fusion thead th") == [
        "nodes of the file",
        "layer",
        "precision",
        "ms",
        "share",
        "time",
        "kernel",
    ]
    assert page.texts("#case .fusion tbody th") == [
        "conv + relu",
        "aand others that {ForeignNode[a...b]} does not tell",
        "Reformatting CopyNodeof no node: the runtime's own",
    ]
    assert page.texts("#case .fusion tbody tr:first-child td")[:4] == [
        "CaskConvolution",
        "fp32 / tf32",
        "0.7500",
        "75.0 %",
    ]
    assert page.texts("#case .fusion tfoot tr > *")[:5] == ["all layers", "", "", "1.000", "100.0 %"]
    first, second = page.texts("#case .block:has(.fusion) li")
    assert first == "1 constant: computed once, before the first inference known: w"
    assert second == "5 inside a layer that does not tell its nodes, or left out not known: b, c, and 3 more"


def test_without_times_the_table_has_no_column_for_them(opened: Open) -> None:
    untimed = Fusion(tuple(replace(layer, ms=None) for layer in TOLD.layers), 9, UNNAMED)
    page = opened_at(opened, record(fusion=untimed))

    assert page.texts("#case .fusion thead th") == ["nodes of the file", "layer", "precision", "kernel"]
    assert page.page.locator("#case .fusion svg, #case .fusion tfoot").count() == 0


def test_times_stand_there_once_unless_a_baseline_stands_beside_them(opened: Open) -> None:
    alone = opened_at(opened, record(fusion=TOLD, profile=TIMES))
    assert "Layers" not in alone.texts("#case h2")

    beside = opened_at(opened, record(fusion=TOLD, profile=TIMES, baseline_profile=TIMES))
    assert {"Layers", "Fusion"} <= {*beside.texts("#case h2")}

    old = opened_at(opened, record(profile=TIMES))
    assert "Layers" in old.texts("#case h2")
    assert "Fusion" not in old.texts("#case h2")


def test_of_many_layers_the_slowest_are_shown_and_the_others_unfolded(opened: Open) -> None:
    many = tuple(replace(FIRST, name=f"layer {n}", nodes=(f"n{n}",), ms=1.0 / (n + 1)) for n in range(30))
    page = opened_at(opened, record(fusion=Fusion(many, 40, (), 10, 0.1), profile=TIMES), viewport=NARROW)

    assert page.page.locator("#case .fusion tbody tr:visible").count() == 12
    page.page.click("#case .block:has(.fusion) summary")
    assert page.page.locator("#case .fusion tbody tr:visible").count() == 30
    assert page.texts("#case .fusion tfoot th") == ["10 layers that are not listed", "all layers"]
    assert page.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_sums_are_of_all_layers_and_what_is_counted_in_the_table_alone_says_so(opened: Open) -> None:
    one = record(fusion=replace(TOLD, others=10, others_ms=0.25), profile=replace(TIMES, total_ms=1.25))

    words = opened_at(opened, one).page.locator("section.block", has_text="of the file became").inner_text()

    assert "9 nodes of the file became 13 layers, 1 of those listed the runtime's own" in words
    assert "fp32 / tf32 750.0 µs (60 %), fp32 250.0 µs (20 %), layers that are not listed 250.0 µs (20 %)" in words


def test_layers_that_took_less_than_the_clock_can_tell_have_no_shares(opened: Open) -> None:
    layers = tuple(replace(layer, ms=0.0) for layer in TOLD.layers)
    one = record(fusion=replace(TOLD, layers=layers), profile=replace(TIMES, total_ms=0.0))

    assert "NaN" not in opened_at(opened, one).page.locator("#case").inner_text()
