"""The draft editor as a Gradio component: Gradio gives it a place and a value, the modules in static/ do the rest."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

STATIC_URL = "lacuna/static"

NO_START = (
    "Lacuna's page could not start: reload it, or open it in a newer browser (Chrome or Edge 111, Firefox 125, Safari 16.4, or later)."
)

MOUNT = f"""
import(new URL("{STATIC_URL}/main.js", document.baseURI)).then((page) => page.mount(element, props.value)).catch((error) => {{
  element.querySelector(".lacuna").textContent = {json.dumps(NO_START)};
  throw error;
}});
"""


class DraftEditor(gr.HTML):
    """The whole page in one component.

    The template is constant on purpose: Gradio evaluates `${...}` and `{{...}}` inside templates, so nothing that
    a user or a model wrote may ever stand in one. The modules build the document with `textContent` alone.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__(
            value=facts,
            html_template='<div class="lacuna"></div>',
            js_on_load=MOUNT,
            apply_default_css=False,
            elem_id="lacuna",
        )

    def api_info(self) -> dict[str, Any]:
        """The value is a plain JSON object: what `page.facts` tells the modules."""
        return {"type": "object"}

    def preprocess(self, payload: dict[str, Any] | None) -> dict[str, Any]:
        """Pass the value through."""
        return payload or {}

    def postprocess(self, value: dict[str, Any]) -> dict[str, Any]:
        """Pass the value through."""
        return value
