"""Run a notebook from top to bottom, so that the same input gives the same bytes."""

from __future__ import annotations

import copy
import os
import re
import tempfile
import threading
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from lab_environment import lab_environment

CELL_TIMEOUT = 300
BACKEND = "module://matplotlib_inline.backend_inline"

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
ADDRESS = re.compile(r"<[^<>\n]* at 0x[0-9a-f]{6,}>")


class Kernels:
    """The running kernels, so that an interrupt can end them."""

    def __init__(self):
        self._clients: set[NotebookClient] = set()
        self._stopped = threading.Event()

    def run(self, notebook: NotebookNode, src: Path) -> list[str]:
        """Run ``notebook`` in place, in an empty folder, with the library in ``src``.

        Returns complaints: every error, and everything written to stderr. None means it passed.
        """
        client = NotebookClient(notebook, kernel_name="python3", timeout=CELL_TIMEOUT,
                                record_timing=False, coalesce_streams=True,
                                store_widget_state=False, on_cell_start=self._refuse_if_stopped,
                                extra_arguments=["--IPKernelApp.log_level=40"])
        path = os.pathsep.join(filter(None, [str(src), os.environ.get("PYTHONPATH")]))
        env = {**lab_environment(os.environ), "MPLBACKEND": BACKEND, "PYTHONPATH": path}
        metadata = copy.deepcopy(notebook.metadata)
        self._clients.add(client)
        try:
            with tempfile.TemporaryDirectory() as empty:
                client.resources = {"metadata": {"path": empty}}
                client.execute(env=env)
        except CellExecutionError:
            pass  # the error is among the outputs
        except (CellTimeoutError, RuntimeError) as error:  # a dead kernel, or none that starts
            return [*complaints(notebook), str(error)]
        finally:
            self._clients.discard(client)
            notebook.metadata = metadata  # without the versions that the kernel adds
        return complaints(notebook)

    def stop(self) -> None:
        """End every kernel now; the threads that wait for them come back within a second."""
        self._stopped.set()
        for client in tuple(self._clients):
            if client.km is not None and client.km.has_kernel:
                client.km.provisioner.process.kill()

    def _refuse_if_stopped(self, **_) -> None:
        if self._stopped.is_set():
            raise DeadKernelError("interrupted")


def complaints(notebook: NotebookNode) -> list[str]:
    """What went wrong, by cell: errors, text on stderr (warnings, progress bars), addresses."""
    found = []
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                found.append(f"cell {number}: {output.ename}: {output.evalue}\n"
                             + COLOURS.sub("", "\n".join(output.traceback)))
            elif output.output_type == "stream" and output.name == "stderr":
                found.append(f"cell {number} wrote to stderr: {output.text.strip()}")
            elif address := ADDRESS.search(str(output.get("text", output.get("data")))):
                found.append(f"cell {number} shows a memory address, which no other run repeats: "
                             f"{address[0]}; assign the cell's last value to _")
    return found

