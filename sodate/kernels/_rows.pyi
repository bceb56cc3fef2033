from typing import Any

from numpy.typing import NDArray

FLOAT32: int
BFLOAT16: int

def product(x: NDArray[Any], weight: NDArray[Any], out: NDArray[Any]) -> None: ...
def norm(x: NDArray[Any], weight: NDArray[Any], out: NDArray[Any], eps: float) -> None: ...
def rotate(x: NDArray[Any], cos: NDArray[Any], sin: NDArray[Any]) -> None: ...
