"""One box and one label per image from MAE encoder and decoder. ViT-B."""

from detectron2.config import LazyCall as L

from imted.modeling import MAEEncoder, SingleObjectLocalizer

from ..constants import imagenet
from ..sizes import base

model = L(SingleObjectLocalizer)(
    variant="pretrained_decoder",  # encoder, random_decoder or pretrained_decoder
    num_classes=1000,
    encoder=L(MAEEncoder)(
        **base.encoder, patch_size=16, drop_path_rate=0.0, use_act_checkpoint=False
    ),
    decoder=dict(**base.decoder, drop_path_rate=0.0, use_act_checkpoint=False),
    l1_weight=5.0,
    giou_weight=2.0,
    **imagenet,
)
