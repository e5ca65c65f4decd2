"""What the run halves for GPUs share: kernels on arrays that stay on the device."""
