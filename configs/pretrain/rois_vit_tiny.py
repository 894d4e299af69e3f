"""Region reconstruction after the MAE: pyramid and modulator of the tiny detector, without labels.

Beyond the paper: see imted.modeling.RegionReconstruction. Images are a folder's or a COCO json's.
"""

from detectron2.config import LazyCall as L

from imted.modeling import (
    RandomRegions,
    ReconstructionDecoder,
    RegionPrediction,
    RegionReconstruction,
)

from ..common.data.pretrain import dataloader
from ..common.models.imted_mask_rcnn_tiny import model
from ..common.optim import optimizer
from ..common.schedule import cosine as lr_multiplier
from ..common.sizes import tiny
from ..common.train import train

# The detector with boxes at random for its proposals, and their pixels for its results. The
# smallest boxes are pooled from the pyramid's finest level, those above 224 from its coarsest.
model.proposal_generator = L(RandomRegions)(regions_per_image=24, min_size=12, max_size=288)
model.roi_heads = L(RegionReconstruction)(
    box_in_features=model.roi_heads.box_in_features,
    box_pooler=model.roi_heads.box_pooler,
    decoder=L(ReconstructionDecoder)(
        encoder_dim="${...backbone.net.embed_dim}",
        patch_size="${...backbone.net.patch_size}",
        **tiny.decoder,
    ),
    prediction=L(RegionPrediction)(dim="${..decoder.dim}", pixels=4),
)
model.roi_heads.box_pooler.scale_init = 1.0

dataloader.train.mapper.update(image_size=288, min_scale=0.3)
dataloader.train.total_batch_size = 4
dataloader.train.num_workers = 2

optimizer.lr = 1e-3
optimizer.params.layer_decay = 1.0
train.init_checkpoint = "imted://weights/mae_vit_tiny_photos.pth"
train.frozen = ["backbone.net", "roi_heads.decoder"]  # what the MAE has learnt stays
train.max_iter = 1200
train.eval_period = 0
train.best_metric = ""
train.checkpointer.period = 500
train.output_dir = "output/rois_vit_tiny"
