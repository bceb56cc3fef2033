from typing import Any

from numpy.typing import NDArray

def attend(*arrays_scale_window: NDArray[Any] | float) -> None: ...
