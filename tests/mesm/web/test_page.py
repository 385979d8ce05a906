"""The page in a browser: an example, an upload, another p, a broken file, nothing from outside."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import pytest
from playwright.sync_api import TimeoutError

from mesm.inference.loading import DEMO_MODEL
from mesm.web.desk import Desk, Looked
from mesm.web.page import CHOICES, EVERY, Page, build
from mesm.web.server import Request
from mesm.web.studio import Studio
from tests.mesm.inference.recordings import film, sound_file
from tests.mesm.web.conftest import Served, serving, wait_for

DONE = "#verdict .verdict"
TROUBLE = "#verdict .trouble"


def page_of(run: Path, p: Any, uploads: Path) -> tuple[Page, list[Any]]:
    """A page of a MESM with another p of its own, and all p at which it looks."""
    studio = Studio.load(run, device="cpu")
    trained = studio.pipeline.trained
    settings = trained.settings.model_copy(update={"p": p})
    studio.pipeline.trained = replace(trained, settings=settings)
    looked: list[Any] = []
    view = studio.view

    def watched(of: Looked, place: int, at: Any = None) -> Any:
        looked.append(at)
        return view(of, place, at)

    studio.view = watched  # type: ignore[method-assign]
    return Page(studio, Desk(uploads)), looked


def test_a_slider_that_nobody_moved_is_the_runs_own_p(
    own_mesm: Path, films: Path, tmp_path: Path
) -> None:
    page, looked = page_of(own_mesm, [0.3, 0.5, 0.7], tmp_path)
    file = str(shutil.copyfile(films / "film0.mp4", tmp_path / "film0.mp4"))
    who = SimpleNamespace(session_hash="one")
    shown = page.read(file, None, "so happy", None, 0.5, EVERY, False, who)
    assert "trouble" not in shown[0]
    page.again(0, 0.5, EVERY, False, who)
    *_, moved = page.turned(0, 0.5, EVERY, who)  # to 0.3 and back to the middle
    page.again(0, 0.5, EVERY, moved, who)
    page.read(file, None, "so sad", None, 0.5, EVERY, moved, who)
    share, moved = page.chosen("block 3")
    assert share == 0.7
    page.again(0, share, "block 3", moved, who)
    page.turned(0, 0.2, "block 3", who)
    assert looked == [None, None, 0.5, 0.5, 0.5, None, [0.3, 0.5, 0.2]]


@pytest.mark.parametrize(("p", "least"), [(0.05, 0.05), ([0.7, 0.5, 0.04], 0.04), (0.5, 0.1)])
def test_the_slider_begins_at_any_p_of_a_run(
    p: Any, least: float, own_mesm: Path, tmp_path: Path
) -> None:
    page, _ = page_of(own_mesm, p, tmp_path)
    blocks = build(page.studio, page.desk)
    (slider,) = (one for one in blocks.blocks.values() if isinstance(one, gr.Slider))
    assert slider.minimum == least
    for choice in CHOICES:
        share, _ = page.chosen(choice)
        assert slider.preprocess(share) == share  # it refuses what is out of its range


class Visitor:
    """Somebody with a browser, who notes all that it asks for and complains about."""

    def __init__(self, browser: Any, served: Served, **settings: Any) -> None:
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(100_000)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(served.address)
        self.page.wait_for_selector("#go")

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def hosts(self) -> set[str]:
        """Machines that were asked for anything."""
        return {u.hostname or "" for u in map(urlsplit, self.asked) if u.scheme != "data"} - {""}

    def upload(self, file: Path) -> None:
        """Put a file in the place of the video."""
        clear = self.page.locator("#video button[aria-label='Clear']")
        if clear.count():
            clear.first.click()
        self.page.locator("#video input[type=file]").first.set_input_files(file)

    def read(self, place: str = DONE) -> str:
        """The text of a place, once it is there."""
        self.page.wait_for_selector(place)
        return str(self.page.inner_text(place))

    def figure(self, name: str) -> str:
        """A number among the costs."""
        return self.read(f'[data-figure="{name}"]')

    def until(self, name: str, other: str) -> str:
        """A number among the costs, once it is another."""
        wanted = "([n, o]) => document.querySelector(`[data-figure='${n}']`)?.innerText !== o"
        self.page.wait_for_function(wanted, arg=[name, other])
        return self.figure(name)

    def wide(self) -> int:
        """Pixels that the page is wide."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


@pytest.fixture
def visitor(browser: Any, served: Served) -> Iterator[Visitor]:
    found = Visitor(browser, served)
    yield found
    assert found.hosts() == {"127.0.0.1"}
    assert found.errors == []
    found.context.close()


def test_an_example_and_another_p(visitor: Visitor, served: Served, films: Path) -> None:
    page = visitor.page
    assert "trained on the corpus" in visitor.read("header.mesm")
    page.click("#example-0")
    assert "example-1.mp4" in visitor.read()
    assert "so happy" in visitor.read()
    assert page.locator(f"{DONE} [data-emotion]").count() == 2
    assert page.locator("#sites img").count() == 8  # face and sound: the input and three blocks
    flops, kept = visitor.figure("flops"), visitor.figure("kept-face")
    dense = visitor.figure("dense-flops")
    assert visitor.figure("dense-ms").endswith(" ms")
    assert visitor.figure("ms").endswith(" ms")
    page.locator("#p input[type=range]").focus()
    page.keyboard.press("Home")  # p = 0.1
    fewer = visitor.until("flops", flops)
    assert float(visitor.figure("kept-face").split()[0]) < float(kept.split()[0])
    assert visitor.figure("dense-flops") == dense
    page.get_by_label("block 3").check()
    assert visitor.until("flops", fewer) == flops  # block 3 begins at the run's own p
    assert page.locator("#sites .chosen").count() == 2
    page.locator("#p input[type=range]").focus()
    page.keyboard.press("Home")
    assert visitor.until("flops", flops) != fewer  # blocks 1 and 2 keep the run's own p
    assert served.outgoing == []
    visitor.upload(films / "film2.mp4")  # of which the example's words are not told
    page.wait_for_selector(f"{DONE} >> text=film2.mp4")
    assert "No words" in visitor.read()
    assert page.input_value("#text textarea") == ""


def test_a_published_model_is_served(browser: Any, films: Path, tmp_path: Path) -> None:
    shutil.copyfile(films / "film1.mp4", tmp_path / "film1.mp4")
    (tmp_path / "film1.srt").write_text("1\n00:00:00,100 --> 00:00:00,600\nhow sad\n")
    with serving(Request(DEMO_MODEL, examples=tmp_path, device="cpu")) as published:
        one = Visitor(browser, published)
        assert "Model card" in one.read("footer.mesm")
        one.page.click("#example-0")
        assert "how sad" in one.read()
        assert one.page.locator("#sites img").count() == 8
        assert one.hosts() == {"127.0.0.1"}
        one.context.close()


def test_a_clip_its_words_and_a_broken_file(
    visitor: Visitor, films: Path, tmp_path: Path, served: Served
) -> None:
    page = visitor.page
    mine = tmp_path / "my clip.mp4"
    mine.write_bytes((films / "film2.mp4").read_bytes())
    visitor.upload(mine)
    assert "my clip.mp4" in visitor.read()
    assert "No words" in visitor.read()
    page.fill("#text textarea", "very happy <b>indeed</b>")
    page.click("#go")
    page.wait_for_selector(f"{DONE} .said")
    assert "very happy <b>indeed</b>" in visitor.read()
    (tmp_path / "broken.mp4").write_bytes((films / "film2.mp4").read_bytes()[:3000])
    visitor.upload(tmp_path / "broken.mp4")
    said = visitor.read(TROUBLE)
    assert "broken.mp4 is cut short" in said
    assert "copy it again" in said
    assert str(served.desk.uploads) not in said
    assert page.locator("#sites img").count() == 0
    page.fill("#text textarea", "x" * 1_000_000)
    visitor.upload(mine)
    page.wait_for_function("document.querySelector('#verdict').innerText.includes('letters')")
    assert "wanted at most 10000" in visitor.read(TROUBLE)
    page.fill("#text textarea", "")
    page.click("#go")
    assert "my clip.mp4" in visitor.read()


def recorded(browser: Any, served: Served) -> Visitor:
    """A visitor whose camera has recorded a clip that was read."""
    for seconds in (2, 5, 10):  # a busy machine's browser may have recorded nothing after two
        one = Visitor(browser, served, permissions=["camera", "microphone"])
        page = one.page
        page.click("#video button[aria-label='Capture from camera']")
        page.click("#video button:has-text('Click to Access Webcam')")
        page.click("#video button[aria-label='start recording']")
        page.wait_for_timeout(1000 * seconds)
        try:
            page.click("#video button:has-text('Stop')", timeout=40_000)
            page.wait_for_selector(DONE, timeout=40_000)
        except TimeoutError:
            one.context.close()
        else:
            return one
    raise AssertionError("no recording was read, of 2, 5 and 10 s")


def test_a_clip_is_recorded_and_a_sound_takes_its_place(
    browser: Any, served: Served, tmp_path: Path
) -> None:
    one = recorded(browser, served)
    page = one.page
    assert ".webm" in one.read()
    page.get_by_role("tab", name="Sound").click()
    sound_file(tmp_path / "voice.wav", 1)
    page.locator("#sound input[type=file]").first.set_input_files(tmp_path / "voice.wav")
    page.wait_for_selector(f"{DONE} >> text=voice.wav")
    assert "No pictures" in one.read()
    page.fill("#text textarea", "very glad")
    page.click("#go")
    page.wait_for_selector(f"{DONE} .said")
    assert "voice.wav" in one.read()  # and no more the recorded video
    page.locator("#sound button[aria-label='Clear']").first.click()
    page.click("#sound button[aria-label='Record audio']")
    page.click("#sound button.record-button")
    page.wait_for_timeout(3000)
    page.click("#sound button.stop-button")
    page.wait_for_function("!document.querySelector('#verdict').innerText.includes('voice.wav')")
    assert "audio.wav" in one.read()  # as gradio names it
    assert "very glad" in one.read()  # typed words stay
    assert one.hosts() == {"127.0.0.1"}
    one.context.close()


def test_a_file_that_is_too_large_is_refused_by_name(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    page.click("#example-0")
    assert "so happy" in visitor.read()
    # Gradio would fetch what cuts a clip from elsewhere.
    assert not page.locator("#video [aria-label^='Trim']").first.is_visible()
    (tmp_path / "huge.mp4").write_bytes(bytes(2_100_000))
    visitor.upload(tmp_path / "huge.mp4")
    page.wait_for_selector("text=/maximum allowed size/i")
    page.wait_for_selector("#verdict >> text=drop a clip")  # of what was before nothing is left
    assert page.locator("#sites img").count() == 0
    assert page.input_value("#text textarea") == ""
    page.click("#go")
    assert "there is no clip yet" in visitor.read(TROUBLE)
    # Gradio asks how far an upload has come that was refused, which is sometimes forgotten by then.
    assert all("404" in one or one == "Response" for one in visitor.errors)
    visitor.errors.clear()


def test_a_full_disk_is_said_in_words(
    visitor: Visitor, films: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(films)._replace(free=1000)
    monkeypatch.setattr("mesm.web.guard.shutil.disk_usage", lambda _: full)
    visitor.upload(films / "film2.mp4")
    said = visitor.read(".toast-body")
    assert "this machine's disk is full; make room" in said
    assert "{" not in said
    monkeypatch.undo()
    monkeypatch.setattr(served.desk, "size", lambda: 10**12)
    visitor.page.locator(".toast-close").first.click()
    visitor.upload(films / "film2.mp4")
    visitor.page.wait_for_selector(".toast-body >> text=/HTTP 507: all visitors' uploads/")
    monkeypatch.undo()
    visitor.upload(films / "film2.mp4")
    assert "film2.mp4" in visitor.read()
    visitor.errors.clear()


def test_a_long_clip_has_a_course(visitor: Visitor, tmp_path: Path) -> None:
    film(tmp_path / "long.mp4", 17, rate=2)
    visitor.upload(tmp_path / "long.mp4")
    assert "piece 1 of 2" in visitor.read()
    assert "upload the recording's subtitles" in visitor.read()
    assert visitor.page.locator("#course .lane").count() == 2
    assert visitor.page.locator("#course .lane i").count() == 4
    visitor.page.click("#piece input")
    visitor.page.keyboard.press("ArrowDown")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("text=piece 2 of 2")
    visitor.page.fill("#text textarea", "words of one piece")
    visitor.page.click("#go")
    said = visitor.read(TROUBLE)
    assert "long.mp4 lasts 17.0 s" in said
    assert "upload subtitles" in said


def test_on_a_phone_in_the_dark_by_keyboard(browser: Any, served: Served) -> None:
    phone = Visitor(
        browser, served, viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True
    )
    page = phone.page
    assert phone.wide() <= 390
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "example-0":
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate("document.activeElement.id") == "example-0"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    assert "example-1.mp4" in phone.read()
    assert phone.wide() <= 390
    assert page.locator(DONE).bounding_box()["width"] > 340  # no broad margins
    colour = page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).color")
    light = [int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(",")[:3]]
    assert min(light) > 150, "words are light where the page is dark"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id]')?.id ?? ''"))
        reached |= set(
            page.evaluate(
                "['text', 'go', 'p', 'block'].filter("
                "id => document.getElementById(id)?.contains(document.activeElement))"
            )
        )
        if {"text", "go", "p", "block"} <= reached:
            break
    assert {"text", "go", "p", "block"} <= reached
    assert phone.hosts() == {"127.0.0.1"}
    phone.context.close()


def test_two_visitors_have_their_own_and_leave_nothing(
    browser: Any, served: Served, films: Path, tmp_path: Path
) -> None:
    both = []
    for number in (3, 4):
        file = tmp_path / f"mine{number}.mp4"
        file.write_bytes((films / f"film{number}.mp4").read_bytes())
        both.append((Visitor(browser, served), file))
    for one, file in both:
        one.upload(file)
    for one, file in both:
        assert file.name in one.read()
    there = {file.name for file in served.desk.uploads.rglob("*.mp4")}
    assert {"mine3.mp4", "mine4.mp4"} <= there
    both[0][0].page.reload()  # in the middle: who comes back is somebody new
    both[0][0].page.wait_for_selector("#go")
    wait_for(lambda: not list(served.desk.uploads.rglob("mine3.mp4")))
    assert list(served.desk.uploads.rglob("mine4.mp4"))
    both[1][0].page.locator("#p input[type=range]").focus()
    before = both[1][0].figure("flops")
    both[1][0].page.keyboard.press("Home")
    both[1][0].until("flops", before)
    for one, _ in both:
        one.context.close()
    wait_for(lambda: not list(served.desk.uploads.rglob("mine*.mp4")))
