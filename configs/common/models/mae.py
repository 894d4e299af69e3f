"""The masked autoencoder, made of the detector's encoder and decoder."""

from detectron2.config import LazyCall as L

from imted.modeling import MAEEncoder, MaskedAutoencoder, ReconstructionDecoder

from ..constants import imagenet

model = L(MaskedAutoencoder)(
    encoder=L(MAEEncoder)(embed_dim=768, depth=12, num_heads=12, patch_size=16),
    decoder=L(ReconstructionDecoder)(
        encoder_dim="${..encoder.embed_dim}",
        patch_size="${..encoder.patch_size}",
        dim=512,
        depth=8,
        num_heads=16,
    ),
    mask_ratio=0.75,
    norm_pix_loss=True,
    **imagenet,
)
