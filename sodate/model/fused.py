"""Fewer passes and fewer saved tensors for the parts every Llama-like decoder has, in place of transformers' modules.

- Attention: query, key and value read their input once (projections.py); a rotation is three passes, not five.
- The gated MLP  y = (act(x Wgᵀ) ∘ (x Wuᵀ)) Wdᵀ  saves x and the two products, and remakes the activation and the gated
  product in backward: two tensors of the layer's widest kind less than autograd keeps.
- RMSNorm (arXiv 1910.07467) saves x and one number per token.

All compute what the modules they replace do; a module is replaced only when it gives the same on a probe. With bfloat16
products on weights of any precision, the residual stream, norms, rotations and (on a CPU) attention stay in float32.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sodate.adapt.lora import LoraLinear
from sodate.adapt.quantise import NF4Linear
from sodate.kernels.gate import gated, gated_back
from sodate.kernels.recomputed import Recompute, recomputable, recompute_of
from sodate.model import stored_precision, traits
from sodate.model.attention import Attend, TrieAttention, decode, reach
from sodate.model.projections import backward, flatten, forward, part_of, project, save, saved, unflatten

_ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh", "PytorchGELUTanh": "gelu_tanh"}


class _GatedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, recompute: Recompute | None, kind: str, scales: tuple[float, ...], *flat: Any
    ) -> Tensor:
        *wide, down = unflatten(flat, scales)
        (gate, up), low = forward(x.reshape(-1, x.shape[-1]), wide)
        (y,), down_low = forward(gated(kind, gate, up), [down])
        save(ctx, flat, recompute, x, gate, up, low, down_low)
        ctx.kind, ctx.scales = kind, scales
        return y.view_as(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x, gate, up, low, down_low), (*wide, down) = saved(ctx, ctx.scales)
        needs_x, trained = ctx.needs_input_grad[0], ctx.needs_input_grad[4:]
        split = len(trained) - len(trained) // 3
        flat_dy = [dy.reshape(-1, dy.shape[-1])]
        dh, down_out = backward(flat_dy, gated(ctx.kind, gate, up), down_low, [down], True, trained[split:])
        assert dh is not None
        dgate, dup = gated_back(ctx.kind, gate, up, dh)
        dx, wide_out = backward([dgate, dup], x.reshape(-1, x.shape[-1]), low, wide, needs_x, trained[:split])
        return (dx.view_as(x) if dx is not None else None, None, None, None, *wide_out, *down_out)


class GatedMLP(nn.Module):
    """A gated MLP of plain or LoRA layers. Parameter names stay those of the module it replaces."""

    def __init__(self, mlp: Any, kind: str) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        parts = [part_of(layer, x.dtype) for layer in (self.gate_proj, self.up_proj, self.down_proj)]
        scales = tuple(p.scale for p in parts)
        out: Tensor = _GatedMLP.apply(x, recompute_of(x), self.kind, scales, *flatten(parts))  # type: ignore[no-untyped-call]
        return out


def _normed(dtype: torch.dtype, x: Tensor, rstd: Tensor, weight: Tensor) -> Tensor:
    return (x.to(weight.dtype) * rstd).mul_(weight).to(dtype)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        wide = x.to(weight.dtype)
        rstd = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, rstd, weight)
        ctx.mark_non_differentiable(rstd)
        return _normed(dtype, x, rstd, weight), rstd

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, rstd, weight = ctx.saved_tensors
        # x̂ = x·rstd;  dx = rstd·(w·dy - x̂·mean(w·dy·x̂))
        dweight = None
        if ctx.needs_input_grad[1]:
            dweight = (dy * x).mul_(rstd).reshape(-1, len(weight)).sum(0)
        grad = dy * weight
        mean = (grad * x).sum(-1, keepdim=True).mul_(rstd * rstd / x.shape[-1])
        return grad.sub_(x * mean).mul_(rstd).to(x.dtype), dweight, None, None


class RMSNorm(nn.Module):
    """RMSNorm computed in its weight's precision and returned in `dtype`. `plus` is 1 where y = x̂·(1 + w) (Gemma)."""

    def __init__(self, weight: nn.Parameter, plus: float, eps: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = weight
        self.plus, self.eps, self.dtype = plus, eps, dtype

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight + self.plus if self.plus else self.weight
        if not torch.is_grad_enabled() and x.dtype == weight.dtype == self.dtype:  # in decoding every call counts
            return nn.functional.rms_norm(x, weight.shape, weight, self.eps)
        out, rstd = _RMSNorm.apply(x, weight, self.eps, self.dtype)  # type: ignore[no-untyped-call]
        return recomputable(out, Recompute(partial(_normed, self.dtype), (x, rstd, weight)))


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.dtype = x.dtype
        return rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return rotated(dy, cos, -sin).to(ctx.dtype), None, None


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding (arXiv 2104.09864): x (N, H, D), cos and sin (N, 1, D) of equal halves. Backward is by -sin."""
    half = x.shape[-1] // 2
    y = x * cos
    y[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    y[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return y


class Attention(nn.Module):
    """Self-attention with rotary positions and, where the model has them, norms of query and key (Qwen 3, Gemma 3)."""

    def __init__(self, attention: Any, layer: int, scale: float | None, window: int | None) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = attention.q_proj, attention.k_proj, attention.v_proj
        self.o_proj = attention.o_proj
        self.q_norm, self.k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        self.head_dim, self.layer, self.scale, self.window = attention.head_dim, layer, scale, window

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], attend: Attend, **_: Any
    ) -> tuple[Tensor, None]:
        """hidden_states (1, N, D), position_embeddings cos and sin (1, N, head_dim) → ((1, N, D), no weights)."""
        x = hidden_states[0]
        projected = project(x, (self.q_proj, self.k_proj, self.v_proj), recompute_of(hidden_states))
        q, k, v = (t.view(len(x), -1, self.head_dim) for t in projected)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        precision = attention_precision(x.dtype, x.device)
        cos, sin = (t[0, :, None].to(precision) for t in position_embeddings)
        q, k, v = _rotate(q, cos, sin), _rotate(k, cos, sin), _as(precision, v)
        q, k, v = (recomputable(t.transpose(0, 1)[None], recompute_of(t)) for t in (q, k, v))
        out = attend(self.layer, q, k, v, self.scale, self.window)
        flat = partial(_flat, x.dtype)
        again = Recompute(flat, (out.detach(),)) if out.dtype != x.dtype else None
        (y,) = project(flat(out), (self.o_proj,), again)
        return y[None], None


def _flat(dtype: torch.dtype, out: Tensor) -> Tensor:
    """(N, H · D) of attention's (1, H, N, D)."""
    return out[0].transpose(0, 1).flatten(1).to(dtype)


def _as(dtype: torch.dtype, x: Tensor) -> Tensor:
    return x if x.dtype == dtype else recomputable(x.to(dtype), Recompute(partial(_as, dtype), (x,)))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (N, H, D) rotated; made of x where that is smaller, or itself made of something that is kept."""
    y: Tensor = _Rotate.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    if (recompute := recompute_of(x)) is not None:
        return recomputable(y, recompute.then(rotated, cos, sin))
    return y if x.dtype == y.dtype else recomputable(y, Recompute(rotated, (x, cos, sin)))


def _like_rms_norm(module: nn.Module, precision: torch.dtype) -> RMSNorm | None:
    """The module as our RMSNorm, if it is one, found by what it does: y(1) is weight, or 1 + weight (Gemma)."""
    weight = getattr(module, "weight", None)
    eps = next((float(getattr(module, n)) for n in ("variance_epsilon", "eps") if hasattr(module, n)), None)
    if (
        not type(module).__name__.endswith("RMSNorm")
        or not isinstance(weight, nn.Parameter)
        or weight.dim() != 1
        or eps is None
    ):
        return None
    x = torch.randn(2, len(weight), generator=torch.Generator().manual_seed(0)).to(weight.device, precision)
    expected = module(x)
    if weight.dtype.itemsize < 4:  # computed in float32 inside, as the module itself does
        weight = nn.Parameter(weight.detach().float(), weight.requires_grad)
    # In bfloat16 both may seem alike where weights are large: the nearer one is meant.
    norms = [RMSNorm(weight, plus, eps, expected.dtype) for plus in (0.0, 1.0)]
    norm = min(norms, key=lambda one: float((one(x) - expected).norm()))
    return norm if same(norm(x), expected) else None


def _projections(module: nn.Module, *names: str) -> list[Any] | None:
    """The module's layers of these names, if all are plain or LoRA layers."""
    layers = [getattr(module, name, None) for name in names]
    return layers if all(type(layer) in (nn.Linear, NF4Linear, LoraLinear) for layer in layers) else None


def _like_mlp(module: nn.Module, precision: torch.dtype) -> GatedMLP | None:
    """The module as our GatedMLP, if it gives the same on a probe."""
    kind = _ACTIVATIONS.get(type(getattr(module, "act_fn", None)).__name__)
    layers = _projections(module, "gate_proj", "up_proj", "down_proj")
    if kind is None or layers is None:
        return None
    ours = GatedMLP(module, kind)
    x = _probe(layers[0], precision)
    return ours if same(ours(x), module(x)) else None


def _calls(model: Any) -> dict[nn.Module, dict[str, Any]]:
    """What each module of the decoder is called with by name, over five tokens: the first a text may have to the last,
    as some attentions change with the position."""
    calls: dict[nn.Module, dict[str, Any]] = {}

    def note(module: nn.Module, _: Any, named: dict[str, Any]) -> None:
        calls[module] = named

    hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in model.get_decoder().modules()]
    longest = reach(model.config) or getattr(model.config, "max_position_embeddings", None) or 2**16
    positions = torch.linspace(0, longest - 1, 5, device=model.device).long()
    decode(model, torch.zeros_like(positions), positions, TrieAttention((5,), ((),)))
    for hook in hooks:
        hook.remove()
    return calls


def _like_attention(module: nn.Module, call: dict[str, Any] | None, precision: torch.dtype) -> Attention | None:
    """The module as our Attention, if it gives the same for five tokens, called as its decoder does."""
    layers = _projections(module, "q_proj", "k_proj", "v_proj", "o_proj")
    if layers is None or call is None or not hasattr(module, "head_dim"):
        return None
    asked: list[tuple[int, float | None, int | None]] = []
    inner = TrieAttention((5,), ((),))

    def attend(
        layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        asked.append((layer, scale, window))
        return inner(layer, query, key, value, scale, window)

    x = _probe(layers[0], precision)
    given = {**call, "hidden_states": x, "attend": attend}
    try:
        expected = module(**given)[0]
        ours = Attention(module, *asked[0])
        return ours if same(ours(**given)[0], expected) else None
    # Another interface, norms over all heads at once (OLMo 2), a part of each head rotated: not ours to replace.
    except (TypeError, ValueError, RuntimeError):
        return None


def _probe(layer: Any, precision: torch.dtype) -> Tensor:
    x = torch.randn(1, 5, layer.weight.shape[-1], generator=torch.Generator().manual_seed(0))
    return x.to(layer.weight.device, precision)


def same(found: Tensor, expected: Tensor) -> bool:
    """Equal but for rounding in the precision of `expected`."""
    close = 1e-4 if expected.dtype in (torch.float32, torch.float64) else 0.05
    return float((found - expected).norm()) <= close * float(expected.norm())


@torch.no_grad()
def replace_modules(model: Any, dtype: torch.dtype) -> torch.dtype:
    """Replaces what can be replaced exactly. Products are then made in `dtype`, whatever weights are kept in.

    Where some part of the decoder could not be replaced, products are made in the precision of the weights, widened to
    `dtype` if they are narrower. Returns the precision of products.
    """
    decoder = model.get_decoder()
    stored: torch.dtype = model.get_input_embeddings().weight.dtype
    probed = dtype if stored.itemsize < dtype.itemsize else stored
    with stored_precision.widened(model, probed):
        calls = _calls(model) if traits.of(model).shares else {}
        fused: list[tuple[nn.Module, str, nn.Module]] = [
            (parent, name, new)
            for parent in decoder.modules()
            for name, child in parent.named_children()
            if (new := _like_mlp(child, probed) or _like_attention(child, calls.get(child), probed)) is not None
        ]
        norms = {child: norm for child in decoder.modules() if (norm := _like_rms_norm(child, probed)) is not None}
    ours = {model.get_input_embeddings(), *norms, *(m for _, _, module in fused for m in module.modules())}
    covered = all(m in ours or next(m.parameters(recurse=False), None) is None for m in decoder.modules())
    if not covered:
        dtype = probed
        if dtype != stored:
            model.to(dtype)
    for parent, name, module in fused:
        setattr(parent, name, module)
    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if child in norms:
                setattr(parent, name, norms[child])
                norms[child].dtype = dtype
    for _, _, module in fused:
        if isinstance(module, Attention) and isinstance(module.q_norm, RMSNorm) and isinstance(module.k_norm, RMSNorm):
            module.q_norm.dtype = module.k_norm.dtype = attention_precision(dtype, model.device)
    if covered and dtype.itemsize < 4:
        model.get_input_embeddings().register_forward_hook(_widened)
    return dtype


def attention_precision(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """bfloat16 attention is slower than float32 on CPUs: their kernel converts at every block."""
    return torch.float32 if device.type == "cpu" and dtype == torch.bfloat16 else dtype


def _widened(_module: nn.Module, _given: Any, output: Tensor) -> Tensor:
    """The residual stream stays in float32: bfloat16 would lose small updates to it in every block."""
    return output.float()
