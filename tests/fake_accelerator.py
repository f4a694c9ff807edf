"""An accelerator that is not there: its results are right, and what is copied from it is garbage until waited for.

    with FakeAccelerator("cuda:1") as gpu:
        losses = gpu.put(torch.ones(5))
        ...
    assert gpu.waits == []

Its tensors say that they are on the device. A copy to the host that does not block holds garbage until an event is
waited for that was recorded after it, on the stream of that device (another device is the current one). Whatever makes
the host wait is written down, and what a real device refuses is refused: tensors of two devices, float64 on Apple's.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

GARBAGE = 1e30
READS = ("item", "tolist", "__bool__", "__float__", "__int__", "__index__")


class OnDevice(torch.Tensor):
    """A tensor of the accelerator; the values lie on the host."""

    place: torch.device


class Stream:
    """What a device has still to do, in order; it does nothing before somebody waits for it."""

    def __init__(self):
        self.tasks, self.done = [], 0

    def run_until(self, position):
        while self.done < position:
            self.tasks[self.done]()
            self.done += 1


class Event:
    """As ``torch.cuda.Event``."""

    def record(self, stream=None):
        self.stream = torch.cuda.current_stream() if stream is None else stream
        self.position = len(self.stream.tasks)

    def synchronize(self):
        self.stream.run_until(self.position)


class FakeAccelerator(TorchFunctionMode):
    """Makes torch believe in a device while the block runs.

    Attributes:
        waits: what the host waited for, by the name of the operation.
        captures: whether a CUDA graph is being captured.
    """

    def __init__(self, device="cuda:1"):
        super().__init__()
        self.captures = False
        self.device, self.waits, self.streams, self.pinned = torch.device(device), [], {}, set()

    def __enter__(self):
        there = self.device.type == "cuda"
        fakes = {"Event": Event, "current_stream": self.stream, "current_device": lambda: 0}
        fakes |= {"is_available": lambda: there, "is_initialized": lambda: there}
        fakes |= {"is_current_stream_capturing": lambda: self.captures}
        self.real = {name: getattr(torch.cuda, name) for name in fakes}
        vars(torch.cuda).update(fakes)
        return super().__enter__()

    def __exit__(self, *error):
        vars(torch.cuda).update(self.real)
        return super().__exit__(*error)

    def stream(self, device="cuda:0"):
        """The current stream of a device; the current device is the first, and not the one of the tensors."""
        return self.streams.setdefault(str(device), Stream())

    def put(self, tensor):
        """A tensor on the device."""
        placed = tensor.as_subclass(OnDevice)
        placed.place = self.device
        return placed

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = func.__name__
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        here = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        asked = func.__self__.__name__ if name == "__get__" and here else None
        if asked == "device":
            return self.device
        if asked in ("is_cpu", "is_cuda"):
            return asked == f"is_{self.device.type}"
        if name in ("to", "cpu"):
            return self.move(name, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            if name == "pin_memory":
                result = args[0].clone()
                self.pinned.add(result)  # so that it lives, and its identity with it
                return result
            if name == "numpy" and here:
                raise TypeError("can't convert a tensor of an accelerator to numpy; use Tensor.cpu()")
            if here and name in READS:
                self.waits.append(name)
            if here and any(not isinstance(tensor, OnDevice) and tensor.ndim > 0 for tensor in tensors):
                raise RuntimeError("Expected all tensors to be on the same device")
            made_here = "device" in kwargs and torch.device(kwargs["device"]) == self.device
            if made_here:
                kwargs["device"] = "cpu"
            result = func(*tree_map(plain, args), **tree_map(plain, kwargs))
        return tree_map(self.keep, result) if here or made_here else result

    def keep(self, value):
        if not isinstance(value, torch.Tensor):
            return value
        if self.device.type == "mps" and value.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return self.put(value)

    def move(self, name, args, kwargs):
        tensor, *settings = args
        blocking = not kwargs.pop("non_blocking", False)
        devices = [kwargs.pop("device")] if "device" in kwargs else []
        devices += [value for value in settings if isinstance(value, (str, torch.device))]
        settings = [value for value in settings if not isinstance(value, (str, torch.device))]
        on_device = isinstance(tensor, OnDevice)
        source = self.device if on_device else torch.device("cpu")
        target = torch.device(devices[0]) if devices else torch.device("cpu") if name == "cpu" else source
        with torch._C.DisableTorchFunctionSubclass():
            values = plain(tensor).to(*settings, **kwargs) if settings or kwargs else plain(tensor)
            if target == source:
                return self.keep(values) if on_device else values
            if target.type != "cpu":
                if blocking or (self.device.type == "cuda" and not any(tensor is pinned for pinned in self.pinned)):
                    self.waits.append("to device")
                return self.keep(values)
            if blocking:
                self.waits.append("to host")
                return values
            garbage = min(GARBAGE, float(torch.finfo(values.dtype).max)) if values.is_floating_point() else -1
            arriving, values = torch.full_like(values, garbage), values.clone()
            if self.device.type == "cuda":  # on Apple's the memory may be freed by then, so it stays garbage
                self.stream(self.device).tasks.append(lambda: copy(arriving, values))
            return arriving


@torch.inference_mode()  # there any tensor may be written to
def copy(target, source):
    target.copy_(source)


def plain(value):
    """A tensor as the host sees it."""
    return value.as_subclass(torch.Tensor) if isinstance(value, OnDevice) else value
