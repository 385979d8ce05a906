"""The page: what is asked at the left, what is seen at the right; below each other on a phone."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from mesm.config.p import BLOCKS
from mesm.corpora.table.problems import TableError
from mesm.inference.recording import InputError
from mesm.web.about import details, head
from mesm.web.bars import costs, course, empty, trouble, verdict
from mesm.web.costs import USUAL_LEAST_P, least_p, p_of_blocks, p_shown
from mesm.web.desk import Desk, Looked
from mesm.web.examples import Example
from mesm.web.sites import sites
from mesm.web.studio import Studio

EVERY = "every block"
CHOICES = (EVERY, *(f"block {number}" for number in range(1, BLOCKS + 1)))
# Questions that wait for the model at most; more are told to come back.
MOST_WAITING = 32
_STEPS = (
    "Click an example, drop a clip, or record one.",
    "Type what is said in it, if anything, and press “Look at it”.",
    "See the emotions, and in red where the network looks. Move p to have it look at less.",
)
# On a phone results stand below what is seen.
_SHOW = (
    "() => { const v = document.querySelector('#verdict');"
    " if (v && v.getBoundingClientRect().top > 0.7 * innerHeight) v.scrollIntoView(); }"
)
_MODEL: dict[str, Any] = {
    "concurrency_id": "model",
    "concurrency_limit": 1,
    "show_progress": "minimal",
}
_THEN = {**_MODEL, "api_visibility": "private"}


class Page:
    """The deeds of the page's controls, for whoever asks.

    Args:
        studio: the models.
        desk: what visitors have.
        examples: whose words are told of no other clip.
    """

    def __init__(self, studio: Studio, desk: Desk, examples: Sequence[Example] = ()) -> None:
        self.studio, self.desk = studio, desk
        self.examples = {example.text for example in examples}

    def read(
        self,
        video: str | None,
        sound: str | None,
        text: str | None,
        subtitles: str | None,
        share: float | None,
        block: str | None,
        moved: bool | None,
        request: gr.Request,
    ) -> list[Any]:
        """Read the clip that a visitor gave, and show its first piece.

        Where the slider was not moved, `share` is not heeded: the run's own p may differ by block.
        """
        visitor = str(request.session_hash)
        files = [Path(place) for place in (video, sound, subtitles) if place]
        try:
            self._check(files)
            self.desk.take(visitor, *files)
            if video is None and sound is None:
                raise InputError(
                    "there is no clip yet; click an example, drop a clip or record one"
                )
            titles = None if subtitles is None else Path(subtitles)
            file = Path(video or sound or "")
            before = self.desk.looked(visitor)
            looked = self.studio.read(file, text or "", titles, before)
            shown = self._show(looked, 0, share if moved else None, block)
        except Exception as error:
            self.desk.keep(visitor, None)
            return [trouble(self._said(error, files)), "", "", "", gr.update(visible=False)]
        self.desk.keep(visitor, looked)
        pieces = [
            (f"{one.start:.1f} – {one.end:.1f} s  {(one.text or '')[:40]}", place)
            for place, one in enumerate(looked.predictions)
        ]
        return [*shown, gr.update(choices=pieces, value=0, visible=len(pieces) > 1)]

    def again(
        self,
        place: int | None,
        share: float | None,
        block: str | None,
        moved: bool | None,
        request: gr.Request,
    ) -> list[Any]:
        """Look at what was read once more: another piece, another p; nothing is decoded."""
        visitor = str(request.session_hash)
        looked = self.desk.looked(visitor)
        if looked is None:
            return [gr.skip()] * 4
        self.desk.take(visitor)
        try:
            return self._show(looked, int(place or 0), share if moved else None, block)
        except Exception as error:
            return [trouble(self._said(error, [])), "", "", ""]

    def turned(
        self, place: int | None, share: float | None, block: str | None, request: gr.Request
    ) -> list[Any]:
        """As `again`, of a slider that was moved, which is remembered."""
        return [*self.again(place, share, block, True, request), True]

    def replaced(
        self, text: str | None, subtitles: str | None, request: gr.Request
    ) -> tuple[None, Any, Any]:
        """Empty what a new clip takes the place of: the other kind's, and words of another clip.

        Words that a visitor typed stay; who says the same again need not write it again.
        """
        looked = self.desk.looked(str(request.session_hash))
        told = looked is not None and subtitles is not None and subtitles == looked.source[1]
        of_example = bool(text) and text in self.examples
        return None, "" if of_example else gr.skip(), None if told else gr.skip()

    def emptied(self, text: str | None, subtitles: str | None, request: gr.Request) -> list[Any]:
        """Forget the clip that a visitor took away, what was seen of it, and its own words."""
        _, *words = self.replaced(text, subtitles, request)
        self.desk.keep(str(request.session_hash), None)
        nothing = [empty(_STEPS), "", "", "", gr.update(choices=[], visible=False)]
        return [*nothing, *words]

    def chosen(self, block: str | None) -> tuple[float, bool]:
        """The slider of a block begins at the run's own p, unmoved."""
        assert self.studio.own_p is not None
        return p_shown(self.studio.own_p, _number(block)), False

    def leave(self, request: gr.Request) -> None:
        """Forget a visitor who closed the page or loaded it anew."""
        self.desk.leave(str(request.session_hash))

    def _show(
        self, looked: Looked, place: int, share: float | None, block: str | None
    ) -> list[Any]:
        own, number = self.studio.own_p, _number(block)
        p = None
        if own is not None and share is not None:
            p = p_of_blocks(own, number, share)
        place = min(max(place, 0), len(looked.pieces) - 1)
        view = self.studio.view(looked, place, p)
        title = self.studio.pipeline.trained.title
        return [verdict(view), course(view), sites(view, number), costs(view, title)]

    def _check(self, files: Sequence[Path]) -> None:
        for file in files:
            if not self.desk.owns(file):
                raise InputError(f"{file.name} is not there any more; upload it again")

    def _said(self, error: Exception, files: Sequence[Path]) -> str:
        """A failure in words that name files as the visitor knows them."""
        if isinstance(error, InputError | TableError):
            message = " ".join(str(error).split())
            for file in files:
                message = message.replace(str(file), file.name)
            return message
        traceback.print_exception(error, file=sys.stderr)
        return (
            "something went wrong here, and it is not your fault; the terminal that runs mesm "
            "serve says what. The page goes on: try another clip"
        )


def _number(block: str | None) -> int:
    return CHOICES.index(block) if block in CHOICES else 0


def build(studio: Studio, desk: Desk, examples: Sequence[Example] = ()) -> gr.Blocks:
    """Lay the page out.

    Args:
        studio: the models.
        desk: what visitors have.
        examples: to click.
    """
    page = Page(studio, desk, examples)
    with gr.Blocks(title="MESM", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(head(studio), padding=False)
        with gr.Row(elem_classes="halves"):
            with gr.Column(scale=4, min_width=300):
                asked = _asked(studio, examples)
            with gr.Column(scale=6, min_width=300, elem_id="seen"):
                said = gr.HTML(empty(_STEPS), elem_id="verdict", padding=False)
                piece = gr.Dropdown([], label="Piece", visible=False, elem_id="piece")
                over = gr.HTML(elem_id="course", padding=False)
                share, block = _knobs(studio)
                paid = gr.HTML(elem_id="costs", padding=False)
                seen = gr.HTML(elem_id="sites", padding=False)
        gr.HTML(details(studio), padding=False)
        moved = gr.State(False)
        clip = [asked[name] for name in ("video", "sound", "text", "subtitles")]
        told = [*clip, share, block, moved]
        shown = [said, over, seen, paid]
        outputs = [*shown, piece]
        for kind, other in (("video", "sound"), ("sound", "video")):
            words = [asked["text"], asked["subtitles"]]
            for event in (asked[kind].upload, asked[kind].stop_recording):
                emptied = event(
                    page.replaced, words, [asked[other], *words], api_visibility="private"
                )
                emptied.then(page.read, told, outputs, **_THEN).then(None, js=_SHOW)
            # Gradio tells why the next one is refused on its way, beside nothing that was before.
            asked[kind].clear(page.emptied, words, [*outputs, *words], api_visibility="private")
        for event in (asked["subtitles"].upload, asked["go"].click):
            event(page.read, told, outputs, trigger_mode="multiple", **_THEN).then(None, js=_SHOW)
        for button, example in asked["examples"]:
            _on_example(button, example, asked, page, told, [*shown, piece])
        knobs = [piece, share, block, moved]
        settings = {**_THEN, "trigger_mode": "always_last"}
        piece.input(page.again, knobs, shown, **settings)
        if studio.own_p is not None:
            share.input(page.turned, knobs[:3], [*shown, moved], **settings)
            changed = block.input(page.chosen, block, [share, moved], api_visibility="private")
            changed.then(page.again, knobs, shown, **settings)
        blocks.unload(page.leave)
    blocks.queue(max_size=MOST_WAITING, api_open=False, default_concurrency_limit=4)
    return blocks


def _asked(studio: Studio, examples: Sequence[Example]) -> dict[str, Any]:
    """The left half: examples, the clip, its words, the button."""
    found: dict[str, Any] = {"examples": []}
    if examples:
        gr.HTML('<h2 class="mesm step">Try an example</h2>', padding=False)
        with gr.Row(elem_classes="examples"):
            for place, example in enumerate(examples):
                button = gr.Button(
                    example.label, size="sm", min_width=90, elem_id=f"example-{place}"
                )
                found["examples"].append((button, example))
    gr.HTML('<h2 class="mesm step">or a clip of yours</h2>', padding=False)
    with gr.Tabs() as tabs:
        with gr.Tab("Video", id="video"):
            found["video"] = gr.Video(
                label="Video",
                show_label=False,
                sources=["upload", "webcam"],
                webcam_options=gr.WebcamOptions(mirror=False),
                include_audio=True,
                buttons=[],
                elem_id="video",
            )
        with gr.Tab("Sound", id="sound"):
            found["sound"] = gr.Audio(
                label="Sound",
                show_label=False,
                sources=["upload", "microphone"],
                type="filepath",
                editable=False,
                buttons=[],
                elem_id="sound",
            )
    found["tabs"] = tabs
    found["text"] = gr.Textbox(
        label="What is said",
        placeholder="I am so happy for you",
        info="Clips of up to 15 s; longer ones take subtitles.",
        lines=2,
        elem_id="text",
    )
    with gr.Accordion("Subtitles instead (SRT or WebVTT)", open=False):
        found["subtitles"] = gr.File(
            label="Subtitles",
            show_label=False,
            file_types=[".srt", ".vtt"],
            height=110,
            elem_id="subtitles",
        )
    found["go"] = gr.Button("Look at it", variant="primary", elem_id="go")
    limits = studio.limits
    gr.HTML(
        f'<p class="mesm small">At most {limits.megabytes} MB and {limits.minutes:g} minutes. '
        "It stays on this machine.</p>",
        padding=False,
    )
    return found


def _knobs(studio: Studio) -> tuple[gr.Slider, gr.Radio]:
    """The share p, and the block that it is for; hidden where the run has none."""
    own = studio.own_p
    there = own is not None
    least = USUAL_LEAST_P if own is None else least_p(own)
    with gr.Group(visible=there, elem_id="knobs"):
        share = gr.Slider(
            minimum=least,
            maximum=1.0,
            step=0.05 if least == USUAL_LEAST_P else 0.01,
            value=0.5 if own is None else p_shown(own, 0),
            label="p: how much of its attention it keeps",
            info="At 1 it looks everywhere; less is cheaper.",
            buttons=[],
            elem_id="p",
        )
        block = gr.Radio(
            list(CHOICES),
            value=EVERY,
            label="p is for",
            info="The other blocks keep the model's own p.",
            elem_id="block",
        )
    return share, block


def _on_example(
    button: gr.Button,
    example: Example,
    asked: dict[str, Any],
    page: Page,
    told: Sequence[Any],
    shown: Sequence[Any],
) -> None:
    """Have a button put its clip and words in place, and read it."""

    def put() -> list[Any]:
        file = str(example.file)
        tab = gr.Tabs(selected="sound" if example.sound else "video")
        video, sound = (None, file) if example.sound else (file, None)
        subtitles = None if example.subtitles is None else str(example.subtitles)
        return [video, sound, example.text, subtitles, tab]

    places = [*(asked[name] for name in ("video", "sound", "text", "subtitles")), asked["tabs"]]
    button.click(put, None, places, api_visibility="private", trigger_mode="multiple").then(
        *(page.read, list(told), list(shown)), **_THEN
    ).then(None, js=_SHOW)
