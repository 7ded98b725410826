"""The one attention call gives the same with and without gradients, which take other kernels."""

import torch

from emo_core.models.attention import KeyValue, attend


def test_plain_products_equal_the_fused_kernel():
    torch.manual_seed(0)
    query = torch.randn(6, 2, 16, 8)
    key_value = KeyValue(torch.randn(6, 2, 20, 8), torch.randn(6, 2, 20, 8))
    with torch.no_grad():
        fused = attend(query, key_value)
    plain = attend(query.requires_grad_(), key_value)
    assert plain.requires_grad and not fused.requires_grad
    assert (plain - fused).abs().max() < 1e-6
