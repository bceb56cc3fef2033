"""LoRA and its kin, bottlenecks, 4 bits: trainable tensors beside frozen layers."""
