"""Kernels of notebooks that are forked from a process with all of it imported: milliseconds each instead of seconds.

They are ipykernel's own, and are told and heard over its sockets, as Jupyter does; only the start of Python and the
imports are spared.
"""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from jupyter_client import AsyncKernelManager
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

import forks


class ForkedProcess:
    """A process of the fork server, as far as a provisioner asks for what subprocess.Popen is."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], folder: Path | str, environment: dict[str, str]) -> None:
        self._process = forks.CONTEXT.Process(target=be_a_kernel, args=(arguments, str(folder), environment))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedKernel(LocalProvisioner):
    """Starts a kernel by a fork instead of a command."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        self.process = ForkedProcess(cmd[cmd.index("-f") :], options["cwd"], options["env"])
        self.pid = self.process.pid
        return self.connection_info


class ForkedKernelManager(AsyncKernelManager):
    """Has its kernel started by a fork."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.provisioner = ForkedKernel(kernel_id="forked", kernel_spec=self.kernel_spec, parent=self)


def be_a_kernel(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """What `python -m ipykernel_launcher` does, in a process that is there already; it ends where its parent does."""
    import matplotlib
    from ipykernel.kernelapp import launch_new_instance

    os.environ.clear()
    os.environ.update(environment | {"JPY_PARENT_PID": str(os.getppid())})
    # What the kernel's environment would say to a matplotlib that is imported later.
    matplotlib.rcParams["backend"] = "module://matplotlib_inline.backend_inline"
    multiprocessing.set_start_method("fork", force=True)  # the system's, not that of this process
    os.chdir(folder)
    launch_new_instance(argv=arguments)
