"""The page as a hosted Gradio Space, without weights or downloads: ``python demos/app.py``."""

from fmlad.app import build_page
from fmlad.app.page import launch_options

demo = build_page("builtin")

if __name__ == "__main__":
    # No address here: this machine's own, unless the host has set GRADIO_SERVER_NAME.
    demo.launch(**launch_options())
