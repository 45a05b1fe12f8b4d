"""The stacked kernels: K networks at once, each as if it were alone."""
