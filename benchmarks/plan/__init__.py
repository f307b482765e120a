"""What a training step costs on paper: tokens, requests, KV blocks, FLOPs and bytes."""
