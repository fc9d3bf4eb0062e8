"""Where things stand on the page. What it does is in ``service``, what it says in ``words``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from fmlad import list_profiles
from fmlad.app import service, words
from fmlad.errors import OptionError
from fmlad.methods.registry import loadable_methods, method_class
from fmlad.profiles import profile_name

HOST = "127.0.0.1"
# Four times what the service takes: gradio drops a whole upload for one file above its limit,
# the service reports such a file by name and goes on.
MAX_UPLOAD = 4 * service.MAX_FILE_BYTES
QUEUE = 16  # waiting visitors; the next one is told that the page is busy
HOUR = 3600

Files = list[str] | None


def build_page(profile: str | None = None) -> gr.Blocks:
    """Builds the page, to be launched with :func:`launch_options`, without serving it.

    ``profile`` is chosen at first; None means ``$FMLAD_PROFILE``, else ``"builtin"``. Raises
    UnknownNameError where there is no such profile.
    """
    # The page has no place to write prompts in: methods that ask for them are left out.
    methods = [name for name in loadable_methods() if "prompts" not in method_class(name).takes]
    page: gr.Blocks
    with gr.Blocks(
        title="fmlad: few-shot anomaly detection",
        analytics_enabled=False,
        # What visitors uploaded and were given goes when it is a day old; looked after hourly.
        delete_cache=(HOUR, 24 * HOUR),
    ) as page:
        gr.Markdown(
            "# fmlad\nShow it a few pictures of good products, and it says whether another picture "
            "is wrong, and where."
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                shots = _upload("1. Normal images", "shots", "normal image")
                queries = _upload("2. Images to judge", "queries", "image to judge")
                with gr.Row():
                    method = gr.Dropdown(
                        methods,
                        value="banks" if "banks" in methods else methods[0],
                        label="Method",
                        min_width=120,
                    )
                    chosen = gr.Dropdown(
                        list_profiles(), value=profile_name(profile), label="Profile", min_width=120
                    )
                button = gr.Button("Judge", variant="primary", elem_id="judge")
                trying = gr.Button("What will it see?", elem_id="check")
                seen = gr.HTML(visible=False, elem_id="power")
            with gr.Column(scale=3, min_width=360):
                headline = gr.HTML(words.say("empty"), elem_id="verdict")
                problems = gr.HTML(visible=False, elem_id="problems")
                pictures = gr.Gallery(
                    label="Where it looks odd",
                    visible=False,
                    preview=True,
                    object_fit="contain",
                    height=460,
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_id="overlays",
                )
                details = gr.HTML(visible=False, elem_id="details")
                with gr.Accordion(
                    "Normal images, each judged by the others", visible=False, open=False
                ) as shots_group:
                    shots_table = gr.HTML(elem_id="shots-table")
                files = gr.File(
                    label="Verdicts (.json) and anomaly maps (.npy, float32)",
                    visible=False,
                    file_count="multiple",
                    interactive=False,
                    elem_id="files",
                )
        every_detail = gr.State([])

        results = [headline, problems, pictures, details, shots_group, files]
        given = [shots, queries, method, chosen]
        detectors = service.DetectorCache()
        show, judge_to_json = _judges(detectors)
        # One judgement at a time: a backbone takes all cores, and memory for two is not promised.
        alone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "judge"}
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

        pressed = button.click(_clear, None, [button, *results], queue=False, **quiet)
        judged = pressed.then(
            show,
            given,
            [*results, shots_table, every_detail],
            show_progress_on=headline,
            scroll_to_output=True,
            api_visibility="private",
            **alone,
        )
        # After whatever came of it: a full queue must not leave the button dead.
        judged.then(lambda: gr.Button(interactive=True), None, button, queue=False, **quiet)
        trying.click(
            _check(detectors), [shots, method, chosen], seen, show_progress_on=trying,
            api_visibility="private", **alone,
        )  # fmt: skip
        pictures.select(_select, every_detail, details, **quiet)
        # For programs: the same judgement, as JSON.
        gr.Button(visible=False).click(
            judge_to_json, given, gr.JSON(label="result", visible=False), api_name="judge", **alone
        )
        page.queue(max_size=QUEUE, default_concurrency_limit=2)
    return page


def launch_options() -> dict[str, Any]:
    """What :meth:`gradio.Blocks.launch` needs for this page, wherever it is served."""
    return {
        "theme": gr.themes.Default(primary_hue="blue", neutral_hue="slate"),
        "css": words.STYLE,
        "max_file_size": MAX_UPLOAD,
        "share": False,
        "footer_links": ["api"],
        # Pictures of a production line have no business in a browser's history.
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "show_error": False,
    }


def launch(profile: str | None = None, port: int | None = None, open_browser: bool = False) -> None:
    """Serves the page to this machine alone, until interrupted.

    Port None takes the first free one from 7860 on.

    Raises:
        OptionError: The port is taken or cannot be had.
        UnknownNameError: There is no such profile.
    """
    page = build_page(profile)
    try:
        page.launch(server_name=HOST, server_port=port, inbrowser=open_browser, **launch_options())
    except (OSError, OverflowError) as error:
        wanted = "any port from 7860 on" if port is None else f"port {port}"
        raise OptionError(
            f"The page cannot be served on {wanted} ({error}). Choose another port that is free."
        ) from error


def _upload(label: str, name: str, role: service.Role) -> gr.File:
    """A place to drop files, and what of them can be used right beneath it."""
    # A File, not a Gallery: a Gallery refuses a whole upload for one file that is no picture.
    files = gr.File(
        label=f"{label} (up to {service.MAX_FILE_BYTES // 2**20} MB each)",
        file_count="multiple",
        height=150,
        elem_id=name,
    )
    seen = gr.HTML(visible=False, elem_id=f"{name}-seen")

    def preview(paths: Files) -> gr.HTML:
        return _shown(words.say("strip", service.thumbnails(paths or [], role)))

    files.change(preview, files, seen, show_progress="hidden", api_visibility="private")
    return files


def _judges(
    detectors: service.DetectorCache,
) -> tuple[Callable[..., Iterator[list[Any]]], Callable[..., dict[str, Any]]]:
    """The handlers behind the button and behind the API, with one memory of detectors."""

    def show(
        shots: Files,
        queries: Files,
        method: str,
        profile: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (where gradio looks for it)
    ) -> Iterator[list[Any]]:
        with tempfile.TemporaryDirectory(prefix="fmlad-") as folder:
            result = service.judge(
                shots or [], queries or [], method=method, profile=profile, detectors=detectors,
                folder=Path(folder),
                progress=lambda done, total, what: progress((done, total), desc=what),
            )  # fmt: skip
            # Yielded, not returned: gradio copies the files, and then the folder goes.
            yield _show(result, Path(folder))

    def judge_to_json(shots: Files, queries: Files, method: str, profile: str) -> dict[str, Any]:
        """Judges images by normal ones: verdicts with exact scores, shots, problems, error."""
        return service.judge(
            shots or [], queries or [], method=method, profile=profile, detectors=detectors
        ).to_dict()

    return show, judge_to_json


def _check(detectors: service.DetectorCache) -> Callable[..., gr.HTML]:
    """The handler that tries a detector on altered copies of its shots."""

    def check(
        shots: Files,
        method: str,
        profile: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (where gradio looks for it)
    ) -> gr.HTML:
        found = service.check(
            shots or [], method=method, profile=profile, detectors=detectors,
            progress=lambda done, total, what: progress((done, total), desc=what),
        )  # fmt: skip
        return _shown(words.say("power", found))

    return check


def _clear() -> list[Any]:
    """A dead button and an empty right column: old results must not pass for new ones."""
    hidden: list[Any] = [gr.update(visible=False)] * 5
    return [gr.Button(interactive=False), words.say("working"), *hidden]


def _show(result: service.Result, folder: Path) -> list[Any]:
    """Values for the results, the shots' table and the details of every query."""
    verdicts = result.verdicts
    details = [words.say("details", verdict, len(verdicts) > 1) for verdict in verdicts]
    made = [verdict.map_file for verdict in verdicts if verdict.map_file is not None]
    if verdicts:
        report = folder / "verdicts.json"
        report.write_text(json.dumps(result.to_dict(), indent=2), encoding="utf-8")
        made.insert(0, report)
    return [
        words.say("headline", result),
        _shown(words.say("problems", result.problems)),
        gr.Gallery(
            [(verdict.picture, verdict.name) for verdict in verdicts],
            selected_index=0 if verdicts else None,
            visible=bool(verdicts),
        ),
        _shown(details[0] if details else ""),
        gr.Accordion(
            visible=bool(result.shots),
            open=any(shot.suspicious or shot.duplicate_of is not None for shot in result.shots),
        ),
        gr.File([str(path) for path in made], visible=bool(made)),
        words.say("shots", result),
        details,
    ]


def _select(every_detail: list[str], event: gr.SelectData) -> str:
    return every_detail[event.index] if event.index < len(every_detail) else ""


def _shown(content: str) -> gr.HTML:
    return gr.HTML(content, visible=bool(content))
