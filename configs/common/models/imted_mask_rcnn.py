"""imTED Mask R-CNN: Detectron2's mask head on the pyramid beside imTED's box branch. ViT-B."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead

from .imted_faster_rcnn import model

model.roi_heads.mask_in_features = ["p2", "p3", "p4", "p5"]
model.roi_heads.mask_pooler = L(ROIPooler)(
    output_size=14,
    scales=(1.0 / 4, 1.0 / 8, 1.0 / 16, 1.0 / 32),
    sampling_ratio=0,
    pooler_type="ROIAlignV2",
    canonical_box_size="${..canonical_box_size}",
)
model.roi_heads.mask_head = L(MaskRCNNConvUpsampleHead)(
    input_shape=L(ShapeSpec)(channels="${...pyramid_channels}", width=14, height=14),
    num_classes="${..num_classes}",
    conv_dims=["${...pyramid_channels}"] * 5,
)
