"""Fused SSIM, forward and backward, for JAX on CPUs and NVIDIA GPUs."""

from jax_fused_ssim import conventions, sharded
from jax_fused_ssim.info import build_info
from jax_fused_ssim.metrics import ImageMetrics, image_metrics
from jax_fused_ssim.ms_ssim import fused_ms_ssim
from jax_fused_ssim.native import CUSTOM_CALL_TARGETS
from jax_fused_ssim.photometric import PhotometricTerms, photometric_loss
from jax_fused_ssim.ssim import fused_ssim
from jax_fused_ssim.terms import SsimTerms, ssim_terms
from jax_fused_ssim.volume import fused_ssim3d

__all__ = [
    "CUSTOM_CALL_TARGETS",
    "ImageMetrics",
    "PhotometricTerms",
    "SsimTerms",
    "build_info",
    "conventions",
    "fused_ms_ssim",
    "fused_ssim",
    "fused_ssim3d",
    "image_metrics",
    "photometric_loss",
    "sharded",
    "ssim_terms",
]
