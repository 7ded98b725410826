"""The networks. Each takes `ops`, the module that its layers come from (`torch.nn` by default)."""
