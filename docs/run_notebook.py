"""Runs docs/start.ipynb and saves it with its outputs.

python docs/run_notebook.py
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

PATH = Path(__file__).with_name("start.ipynb")


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with the outputs of its cells, without the times they took.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell raised.
    """
    metadata = notebook.metadata.copy()  # without what the kernel adds to it
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        # Away from the checkout's own package, whose folder may have no kernels.
        resources={"metadata": {"path": str(PATH.parent)}},
    ).execute()
    notebook.metadata = metadata
    return notebook


def main() -> None:
    nbformat.write(executed(nbformat.read(PATH, as_version=4)), PATH)


if __name__ == "__main__":
    main()
