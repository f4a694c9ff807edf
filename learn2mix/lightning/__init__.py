"""The loop closed under Lightning."""
