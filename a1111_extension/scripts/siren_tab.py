"""Adds the tab, the settings and the API routes to the web UI."""

from __future__ import annotations

import html
import logging

import gradio as gr
from modules import script_callbacks

# imported now: the extension's folder is on sys.path only while its scripts are loading
from siren_a1111 import api, settings
from siren_a1111.generator import WebuiGenerator

from siren_ext.panels.attribution import attribution_panel
from siren_ext.panels.coat import coat_panel
from siren_ext.panels.lora import lora_panel
from siren_ext.panels.passive import passive_panel
from siren_ext.panels.report import report_panel
from siren_ext.panels.robustness import robustness_panel
from siren_ext.panels.train import train_panel
from siren_ext.panels.verify import verify_panel

# Preselected anew at each start, because they depend on files and settings. The web UI would
# otherwise save the first selection, such as a bundled coater, as the default.
FRESH = ("_coater", "_risk", "_checkpoint", "_suspect", "_reference")
_LOG = logging.getLogger(__name__)
_HOSTS = []


def _host():
    if not _HOSTS:
        _HOSTS.append(settings.make_host())
    return _HOSTS[0]


def tabs():
    """Build the tab.

    Returns
    -------
    list[tuple]
        Page, title and id. If the tab can't be built, the page says why.
    """
    try:
        page = _page()
    except Exception as error:  # the web UI would ignore it and show no tab at all
        _LOG.exception("Siren's tab could not be built")
        with gr.Blocks(analytics_enabled=False) as page:
            gr.HTML(f"<p>Siren's tab could not be built: {html.escape(str(error))}</p>")
    return [(page, "Siren", "siren")]


def _page():
    host = _host()
    with gr.Blocks(analytics_enabled=False) as page, gr.Tabs(elem_id="siren_tabs"):
        with gr.Tab("Coat", elem_id="siren_tab_coat"):
            parts = coat_panel(gr, host)
        with gr.Tab("How robust?", elem_id="siren_tab_robustness"):
            parts |= robustness_panel(gr, host)
        with gr.Tab("Verify a LoRA", elem_id="siren_tab_lora"):
            parts |= lora_panel(gr, WebuiGenerator(), host)
        with gr.Tab("Verify images", elem_id="siren_tab_verify"):
            parts |= verify_panel(gr, host)
        with gr.Tab("My images, not coated", elem_id="siren_tab_passive"):
            parts |= passive_panel(gr, host)
        with gr.Tab("Which images?", elem_id="siren_tab_influence"):
            parts |= attribution_panel(gr, host)
        with gr.Tab("Check a report", elem_id="siren_tab_report"):
            report_panel(gr, host)
        with gr.Tab("Train a coater", elem_id="siren_tab_train"):
            train_panel(gr, host)
    for name, part in parts.items():
        if name.endswith(FRESH):
            part.do_not_save_to_config = True
    return page


def routes(_, app):
    """Add the API routes if the web UI was started with its API.

    Parameters
    ----------
    app : FastAPI
        The web UI's app.
    """
    if settings.flag("api") or settings.flag("nowebui"):
        api.add_routes(
            app,
            _host(),
            max_mb=float(settings.option("siren_api_mb", api.MAX_DEFAULT_MB)),
            accounts=settings.api_accounts(),
        )


def unload():
    """Delete temporary files when the web UI reloads its scripts."""
    while _HOSTS:
        _HOSTS.pop().jobs.close()


script_callbacks.on_ui_settings(settings.add_settings)
script_callbacks.on_ui_tabs(tabs)
script_callbacks.on_app_started(routes)
script_callbacks.on_script_unloaded(unload)
